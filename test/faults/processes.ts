import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { nodeArgsFor } from '@stepping/test-services';
import type { Place } from './place.js';
import type { Plan, ShopOptions, Told } from './shop.js';

export interface ProcessOptions extends Omit<ShopOptions, 'logger'> {
  readonly business: Place;
  /** Default: in the business database. */
  readonly jobs?: Place;
  /** So many services in one process, on one connection pool. Default 1. */
  readonly processors?: number;
  /** Writes its log to the output of the test: to look into a failure. */
  readonly verbose?: boolean;
}

export type Order = 'stop' | { readonly what: 'order' | 'start'; readonly gids: readonly string[]; readonly plan: Plan };

export interface Answer {
  readonly told: readonly Told[];
}

const running = new Set<ShopProcess>();

/** Whatever a test left running. */
export async function killProcesses(): Promise<void> {
  await Promise.all([...running].map((process) => process.kill()));
}

/** A service as another process: it can be killed, and frozen. */
export class ShopProcess {
  readonly #child: ChildProcess;
  readonly #exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #orders = 0;
  #port: number | undefined;

  private constructor(child: ChildProcess) {
    this.#child = child;
    running.add(this);
    this.#exited = new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })));
    void this.#exited.then(() => running.delete(this));
    child.on('message', (message: { id?: number } & Answer) => {
      if (message.id === undefined) return;
      this.#waiting.get(message.id)?.(message);
      this.#waiting.delete(message.id);
    });
  }

  /** Resolves when it works. `preload`: a module that runs before everything else in it. */
  static async start(options: ProcessOptions, preload?: string): Promise<ShopProcess> {
    const script = join(import.meta.dirname, 'shop-process.ts');
    // Jest's own flags are not for it.
    const { NODE_OPTIONS: _, ...env } = process.env;
    const args = [...(preload ? ['--import', preload] : []), ...nodeArgsFor(script), JSON.stringify(options)];
    const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    const shop = new ShopProcess(child);
    const ready = once(child, 'message').then(([{ port }]) => {
      shop.#port = port;
    });
    await Promise.race([
      ready,
      shop.#exited.then(({ code, signal }) => Promise.reject(new Error(`${options.node} ended with ${code ?? signal} before it worked`))),
    ]);
    return shop;
  }

  /** Places orders, or starts jobs, all at once; what their callers were told. */
  async do(what: 'order' | 'start', gids: readonly string[], plan: Plan): Promise<readonly Told[]> {
    return (await this.#tell({ what, gids, plan })).told;
  }

  /** Where it takes callbacks of a DTM server. */
  get origin(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Drains, and exits by itself. */
  async stop(): Promise<void> {
    await this.#tell('stop');
    const { code, signal } = await this.#exited;
    if (code !== 0) throw new Error(`A service that was stopped ended with ${code ?? signal}`);
  }

  /** Until it ended by itself: what ended it. */
  get exited(): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
    return this.#exited;
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#exited;
  }

  /** Stands still from now on, connections open. */
  freeze(): void {
    this.#child.kill('SIGSTOP');
  }

  /** For what is preloaded into it. */
  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  thaw(): void {
    this.#child.kill('SIGCONT');
  }

  async #tell(order: Order): Promise<Answer> {
    const id = ++this.#orders;
    const { promise, resolve } = Promise.withResolvers<Answer>();
    this.#waiting.set(id, resolve);
    this.#child.send({ id, order });
    return Promise.race([
      promise,
      this.#exited.then(({ code, signal }) =>
        Promise.reject(new Error(`A service ended with ${code ?? signal} before it did what it was told`)),
      ),
    ]);
  }
}
