import { type ChildProcess, fork } from 'node:child_process';
import { extname, join } from 'node:path';
import type { Order, Report, Task } from './protocol.js';

/** What a child gets to end by itself. Unit: ms. */
const END_MS = 15_000;

type Of<T extends Report['type']> = Extract<Report, { type: T }>;

/** A process that does a {@link Task}. */
export class Child {
  readonly #process: ChildProcess;
  readonly #gone: Promise<void>;
  #ended = false;

  constructor(task: Task) {
    // Compiled, or from the sources.
    const file = join(import.meta.dirname, `child${extname(import.meta.filename)}`);
    const execArgv = [...process.execArgv, '--disable-warning=DeprecationWarning']; // those of the peers
    this.#process = fork(file, [JSON.stringify(task)], { execArgv, stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
    this.#gone = new Promise((resolve) => {
      this.#process.once('exit', () => {
        this.#ended = true;
        resolve();
      });
    });
    this.#process.on('error', () => {}); // an order that came too late
  }

  /** A process that is ready for orders; one that prepares has done so. */
  static async open(task: Task, timeoutMs: number): Promise<Child> {
    const child = new Child(task);
    try {
      await child.next('ready', timeoutMs);
    } catch (error) {
      await child.end();
      throw error;
    }
    return child;
  }

  order(order: Order): void {
    if (this.#process.connected) this.#process.send(order);
  }

  /** Gives the order once somebody listens for its answer. */
  ask<T extends Report['type']>(order: Order, answer: T, timeoutMs: number): Promise<Of<T>> {
    const answered = this.next(answer, timeoutMs);
    this.order(order);
    return answered;
  }

  on<T extends Report['type']>(type: T, listener: (report: Of<T>) => void): void {
    this.#process.on('message', (report: Report) => {
      if (report.type === type) listener(report as Of<T>);
    });
  }

  next<T extends Report['type']>(type: T, timeoutMs: number): Promise<Of<T>> {
    return this.nextMatching(type, () => true, timeoutMs);
  }

  nextMatching<T extends Report['type']>(type: T, matches: (report: Of<T>) => boolean, timeoutMs: number): Promise<Of<T>> {
    const { promise, resolve, reject } = Promise.withResolvers<Of<T>>();
    const onReport = (report: Report) => {
      if (report.type === type && matches(report as Of<T>)) resolve(report as Of<T>);
    };
    const onExit = (code: number | null) => reject(new Error(`The process ended (${code}) before it said '${type}'.`));
    const timer = setTimeout(() => reject(new Error(`The process did not say '${type}' within ${timeoutMs} ms.`)), timeoutMs);
    this.#process.on('message', onReport).once('exit', onExit);
    if (this.#ended) onExit(this.#process.exitCode);
    return promise.finally(() => {
      clearTimeout(timer);
      this.#process.off('message', onReport).off('exit', onExit);
    });
  }

  /** Asks it to stop, and ends it if it does not. */
  async end(): Promise<void> {
    if (this.#ended) return;
    this.order({ type: 'stop' });
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), END_MS);
    await this.#gone;
    clearTimeout(timer);
  }
}
