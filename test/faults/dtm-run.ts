import { randomUUID } from 'node:crypto';
import { type Audited, gids } from './audit.js';
import { type Books, openBooks } from './books.js';
import { type FaultDatabase, newFile } from './databases.js';
import type { Place } from './place.js';
import { killProcesses, type ProcessOptions, ShopProcess } from './processes.js';
import { Relay } from './relay.js';
import { type DtmPlace, openShop, type Shop, type Told } from './shop.js';
import { ORDINARY, type StepName } from './steps.js';
import { readTrace, type TraceLine } from './trace.js';
import { until } from './until.js';

const STEPS: readonly StepName[] = [...ORDINARY, 'pack'];
/** Whoever only starts and looks knows all of them. */
const ALL_STEPS: readonly StepName[] = [...STEPS, 'outlives', 'deaf', 'kills', 'foul', 'odd'];

const open: DtmRun[] = [];

/** One run of a test whose jobs are on a DTM server: a business database of its own, and the replicas of a service behind one callback URL. */
export class DtmRun implements Audited {
  readonly business: Place;
  readonly books: Books;
  readonly trace: string;
  readonly dtm: DtmPlace;
  readonly callbacks: Relay;
  /** On server and database directly, whatever lies between them and the services; never called back. */
  readonly observer: Shop;
  readonly told: Told[] = [];
  readonly #closing: (() => Promise<void>)[] = [];
  readonly #tag = randomUUID().slice(0, 8);
  #nodes = 0;

  private constructor(parts: Pick<DtmRun, 'business' | 'books' | 'trace' | 'dtm' | 'callbacks' | 'observer'>) {
    const { business, books, trace, dtm, callbacks, observer } = parts;
    this.business = business;
    this.books = books;
    this.trace = trace;
    this.dtm = dtm;
    this.callbacks = callbacks;
    this.observer = observer;
  }

  static async open(database: Pick<FaultDatabase, 'create'>, server: { readonly url: string }): Promise<DtmRun> {
    const business = await database.create('business');
    const books = await openBooks(business);
    await books.setUp();
    const callbacks = await Relay.listen();
    // A secret of its own: other runs have messages on this server, and none of them is seen.
    const dtm = { serverUrl: server.url, callbackUrl: `${callbacks.url}/stepping`, secret: randomUUID() };
    const trace = newFile('trace');
    const observer = openShop(books, { node: 'observer', trace, steps: ALL_STEPS, dtm });
    await observer.stepping.start();
    const run = new DtmRun({ business, books, trace, dtm, callbacks, observer });
    open.push(run);
    return run;
  }

  /** A replica, in a process of its own. The callback URL leads to it, too, for as long as it lives. */
  async process(options: Partial<ProcessOptions> = {}, preload?: string): Promise<ShopProcess> {
    const { business, trace, dtm } = this;
    const shop = await ShopProcess.start({ node: `node-${++this.#nodes}`, business, trace, steps: STEPS, dtm, ...options }, preload);
    this.join(shop.origin);
    void shop.exited.then(() => this.leave(shop.origin));
    return shop;
  }

  /** Of this run alone: the server has one name for all of them, whoever signed a message. */
  gids(name: string, count: number): string[] {
    return gids(`${this.#tag}-${name}`, count);
  }

  join(origin: string): void {
    this.callbacks.targets = [...this.callbacks.targets, origin];
  }

  leave(origin: string): void {
    this.callbacks.targets = this.callbacks.targets.filter((other) => other !== origin);
  }

  lines(what?: TraceLine['what']): TraceLine[] {
    return readTrace(this.trace).filter((line) => what === undefined || line.what === what);
  }

  /** Until no job is left that could still run. */
  async untilAllEnded(): Promise<void> {
    const { jobs } = this.observer.stepping;
    const isOne = async (status: 'prepared' | 'submitted') => (await jobs.list({ status, limit: 1 })).jobs.length > 0;
    await until(
      'all jobs have ended',
      async () => !(await isOne('prepared')) && !(await isOne('submitted')),
      async () => [(await jobs.list({ status: 'prepared', limit: 5 })).jobs, (await jobs.list({ status: 'submitted', limit: 5 })).jobs],
    );
  }

  atEnd(close: () => Promise<void>): void {
    this.#closing.push(close);
  }

  static async closeAll(): Promise<void> {
    await killProcesses();
    for (const run of open.splice(0)) await run.#close();
  }

  async #close(): Promise<void> {
    await this.observer.stepping.stop({ drainTimeoutMs: 0 });
    for (const close of this.#closing.reverse()) await close();
    await this.callbacks.close();
    await this.books.close();
  }
}
