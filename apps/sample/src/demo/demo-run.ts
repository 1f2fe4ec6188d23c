import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { JobStatus } from '@stepping/core';
import { readJsonLines } from '../outside/json-lines.js';
import type { LedgerLine } from '../outside/ledger.js';
import type { Mail } from '../outside/smtp-server.js';
import type { Evidence, Kill, StepLine } from './audit.js';
import type { DemoDatabases } from './databases.js';
import type { DemoOptions } from './options.js';
import { type Answer, type DemoOrder, makeOrders, placeOrders } from './place-orders.js';
import type { Processes, Server } from './processes.js';
import { showProgress } from './progress.js';
import { readShop } from './shop-records.js';

/** More of every article than all orders need: a step that takes its stock twice shows in the audit, not as a shop that is sold out. */
const SPARE_STOCK = 1_000;
/** Nothing finished for this long: something hangs. Unit: ms. */
const STANDSTILL_MS = 30_000;
/** MongoDB keeps the open transactions of a killed process, and what they wrote from others, for a minute, and looks for them every half. Unit: ms. */
const STANDSTILL_ON_MONGO_MS = 120_000;
/** A DTM server waits twice as long after each failure to reach a shop that is down. Unit: ms. */
const STANDSTILL_WITH_DTM_MS = 90_000;
const LOOK_EVERY_MS = 100;

/** One run of the demo: orders, kills, and what was seen of them. */
export class DemoRun {
  readonly #options: DemoOptions;
  readonly #directory: string;
  readonly #processes: Processes;
  readonly #databases: DemoDatabases;
  readonly #orders: readonly DemoOrder[];
  readonly #answers: Answer[] = [];
  readonly #kills: Kill[] = [];
  /** The processes of the service so far. */
  #lives = 0;
  #ordersDone = 0;
  #repeatedPosts = 0;
  readonly #standstillMs: number;
  #state = 'starting';

  constructor(
    options: DemoOptions,
    { directory, processes, databases }: { directory: string; processes: Processes; databases: DemoDatabases },
  ) {
    this.#options = options;
    this.#standstillMs = Math.max(
      options.db === 'mongo' ? STANDSTILL_ON_MONGO_MS : STANDSTILL_MS,
      options.tm === 'dtm' ? STANDSTILL_WITH_DTM_MS : 0,
    );
    this.#directory = directory;
    this.#processes = processes;
    this.#databases = databases;
    this.#orders = makeOrders(options.orders, options.lines, options.seed);
  }

  /** Rejects when the shop cannot be worked with; what it did wrong is for the audit to find. */
  async run(): Promise<Evidence> {
    const { orders, kills, seed } = this.#options;
    const startedAt = Date.now();
    const progress = showProgress(() => {
      const shop = `${this.#answers.length}/${orders} orders answered (${this.#repeatedPosts} POSTs repeated), ${this.#ordersDone} done`;
      return `${((Date.now() - startedAt) / 1_000).toFixed(1).padStart(5)} s  ${shop}, ${this.#kills.length}/${kills} kills, ${this.#state}`;
    });
    try {
      const payment = await this.#processes.start({
        name: 'payment-provider',
        script: 'outside/payment-provider',
        args: ['--ledger', this.#file('ledger'), '--seed', String(seed)],
      });
      const smtp = await this.#processes.start({
        name: 'smtp-server',
        script: 'outside/smtp-server',
        args: ['--mailbox', this.#file('mailbox'), '--seed', String(seed)],
      });
      const dtm = this.#options.tm === 'dtm' ? await this.#startDtm() : undefined;
      const surroundings = {
        PAYMENT_URL: payment.url,
        SMTP_URL: smtp.url,
        STEPPING_TM: this.#options.tm,
        // Where it is called back is said before it listens.
        PORT: dtm ? String(await freePort()) : '0',
        ...dtm?.env,
      };
      let shop = await this.#startShop(surroundings);
      const shopUrl = shop.url;
      const initialStock = await this.#fillStock(shopUrl);
      this.#state = 'working';

      // From here on the shop is looked at all the time.
      const ended = new AbortController();
      const watching = this.#watch(shopUrl, ended.signal);
      const placing = placeOrders(this.#orders, {
        shopUrl,
        seed,
        onAnswer: (answer) => this.#answers.push(answer),
        onRepeat: () => this.#repeatedPosts++,
      });
      const killing = async () => {
        for (let kill = 1; kill <= kills; kill++) {
          await until(() => this.#answers.length >= (kill * orders) / (kills + 1));
          shop = await this.#killAndRestart(shop, payment, surroundings);
          // Not while the shop starts: it would say that there is no server, and end.
          if (kill === 1) await dtm?.killOnce();
        }
      };
      const working = async () => {
        await Promise.all([placing, killing()]);
        this.#state = 'all orders placed';
        const accepted = this.#answers.filter(({ outcome }) => outcome === 'accepted').length;
        await until(() => this.#ordersDone >= accepted);
        return this.#untilJobsEnded(shopUrl);
      };
      const jobsFinished = (await Promise.race([working(), watching])) ?? 0;
      ended.abort();
      await shop.stop();
      this.#state = 'done';

      return {
        orders: this.#orders,
        answers: this.#answers,
        initialStock,
        shop: await readShop(this.#databases.shop),
        ledger: readJsonLines<LedgerLine>(this.#file('ledger')),
        mails: readJsonLines<Mail>(this.#file('mailbox')),
        steps: Array.from({ length: this.#lives }, (_, life) =>
          readJsonLines<Omit<StepLine, 'life'>>(this.#file(`steps-${life}`)).map((line) => ({ ...line, life })),
        ).flat(),
        kills: this.#kills,
        jobsFinished,
      };
    } finally {
      progress.end();
    }
  }

  #file(name: string): string {
    return join(this.#directory, `${name}.jsonl`);
  }

  async #startDtm(): Promise<{ env: Record<string, string>; killOnce(): Promise<void> }> {
    const server = await this.#processes.start({
      name: 'dtm',
      script: 'outside/dtm-server',
      args: ['--directory', join(this.#directory, 'dtm')],
    });
    const { url } = (await (await fetch(server.url)).json()) as { url: string };
    return {
      env: { DTM_URL: url, STEPPING_SECRET: 'of this demo alone' },
      async killOnce() {
        const response = await fetch(new URL('/control/kill', server.url), { method: 'POST' });
        if (!response.ok) throw new Error(`The DTM server did not come back after its kill: ${await response.text()}`);
      },
    };
  }

  #startShop(env: Record<string, string>): Promise<Server> {
    return this.#processes.start({
      name: 'shop',
      script: 'service/main',
      env: {
        STEPPING_ROLE: 'all',
        STEPPING_STEP_LOG: this.#file(`steps-${this.#lives++}`),
        PAYMENT_API_KEY: 'test-key',
        STEPPING_BUSINESS_DB: undefined,
        ...this.#databases.env,
        ...env,
      },
    });
  }

  /** Puts goods into the shop; says how many of each. */
  async #fillStock(shopUrl: string): Promise<Map<string, number>> {
    const stock = new Map<string, number>();
    for (const { lines } of this.#orders) {
      for (const { sku, quantity } of lines) stock.set(sku, (stock.get(sku) ?? SPARE_STOCK) + quantity);
    }
    for (const [sku, available] of stock) {
      const response = await fetch(new URL(`/stock/${encodeURIComponent(sku)}`, shopUrl), {
        method: 'PUT',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ available }),
      });
      if (!response.ok) throw new Error(`The shop did not take the stock of ${sku}: ${response.status} ${await response.text()}`);
    }
    return stock;
  }

  /** Kills the shop while the payment provider holds a request open, and starts it again. */
  async #killAndRestart(shop: Server, payment: Server, surroundings: Record<string, string>): Promise<Server> {
    this.#state = 'waiting for a payment to kill in';
    const held = await this.#holdPayment(payment);
    this.#kills.push({ life: this.#lives - 1, at: Date.now(), openRequest: held.request });
    await shop.kill();
    this.#state = `killed in a payment, ${held.charged ? 'charged but not answered' : 'not charged yet'}`;
    await fetch(new URL('/control/release', payment.url), { method: 'POST' });
    const again = await this.#startShop({ ...surroundings, PORT: new URL(shop.url).port });
    this.#state = 'working';
    return again;
  }

  /** Resolves as soon as the payment provider has a request that it keeps open. */
  async #holdPayment(payment: Server): Promise<{ request: string; charged: boolean }> {
    try {
      const response = await fetch(new URL('/control/hold', payment.url), {
        method: 'POST',
        signal: AbortSignal.timeout(this.#standstillMs),
      });
      return (await response.json()) as { request: string; charged: boolean };
    } catch (cause) {
      throw new Error(
        `No payment came in for ${this.#standstillMs / 1_000} s, so there was none to kill the shop in.\n${this.#processes.tail('shop')}`,
        { cause },
      );
    }
  }

  /** Looks at the shop until it is told that all has ended; rejects when nothing moves any more. */
  async #watch(shopUrl: string, ended: AbortSignal): Promise<void> {
    let moved = { at: Date.now(), to: '' };
    while (!ended.aborted) {
      this.#ordersDone = (await this.#ask<{ done: number }>(shopUrl, '/orders'))?.done ?? this.#ordersDone;
      const to = `${this.#answers.length} orders answered, ${this.#ordersDone} done`;
      if (to !== moved.to) moved = { at: Date.now(), to };
      if (Date.now() - moved.at > this.#standstillMs) {
        throw new Error(`Nothing moved for ${this.#standstillMs / 1_000} s: ${to}.\n${this.#processes.tail('shop')}`);
      }
      await sleep(LOOK_EVERY_MS);
    }
  }

  /** The last step of an order has run before its job is finished. */
  async #untilJobsEnded(shopUrl: string): Promise<number> {
    for (;;) {
      const jobs = await this.#ask<Partial<Record<JobStatus, number>>>(shopUrl, '/jobs');
      if (jobs?.failed) {
        throw new Error(`${jobs.failed} jobs failed for good, which no job of the demo should.\n${this.#processes.tail('shop')}`);
      }
      if (jobs && (jobs.submitted ?? 0) + (jobs.prepared ?? 0) === 0) return jobs.succeeded ?? 0;
      await sleep(LOOK_EVERY_MS);
    }
  }

  async #ask<T>(shopUrl: string, path: string): Promise<T | undefined> {
    try {
      const response = await fetch(new URL(path, shopUrl), { signal: AbortSignal.timeout(5_000) });
      return response.ok ? ((await response.json()) as T) : undefined;
    } catch {
      return undefined; // it is down, or busy: the next look may tell
    }
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function until(reached: () => boolean): Promise<void> {
  while (!reached()) await sleep(LOOK_EVERY_MS);
}
