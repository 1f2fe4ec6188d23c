import { type Books, openBooks } from './books.js';
import type { FaultDatabase } from './databases.js';
import { newFile } from './databases.js';
import type { Place } from './place.js';
import { killProcesses, type ProcessOptions, ShopProcess } from './processes.js';
import { openShop, type Shop, type ShopOptions, type Told } from './shop.js';
import { ORDINARY, type StepName } from './steps.js';
import { readTrace, type TraceLine } from './trace.js';
import { until } from './until.js';

/** Steps of an ordinary service. */
const STEPS: readonly StepName[] = [...ORDINARY, 'pack'];

type RunDatabase = Pick<FaultDatabase, 'create' | 'noticesLostClients'>;

const open: Run[] = [];

/** One run of a test: databases of its own, the services on them, and whoever watches. */
export class Run {
  readonly business: Place;
  readonly jobs: Place;
  readonly trace: string;
  /** On the databases directly, whatever lies between them and the services; never runs a job. */
  readonly observer: Shop;
  readonly books: Books;
  /** What all callers were told. */
  readonly told: Told[] = [];
  readonly #database: RunDatabase;
  readonly #closing: (() => Promise<void>)[] = [];
  #nodes = 0;

  private constructor(parts: { database: RunDatabase; business: Place; jobs: Place; trace: string; observer: Shop; books: Books }) {
    this.#database = parts.database;
    this.business = parts.business;
    this.jobs = parts.jobs;
    this.trace = parts.trace;
    this.observer = parts.observer;
    this.books = parts.books;
  }

  /** `twoDatabases`: the jobs are in another one than the orders. */
  static async open(database: RunDatabase, { twoDatabases = false } = {}): Promise<Run> {
    const business = await database.create('business');
    const jobs = twoDatabases ? await database.create('jobs') : business;
    const trace = newFile('trace');
    const books = await openBooks(business, jobs);
    await books.setUp();
    const observer = openShop(books, { node: 'observer', trace, steps: ALL_STEPS, processor: false });
    await observer.stepping.start();
    const run = new Run({ database, business, jobs, trace, observer, books });
    open.push(run);
    return run;
  }

  /** A service in a process of its own. */
  process(options: Partial<ProcessOptions> = {}, preload?: string): Promise<ShopProcess> {
    const { business, jobs } = this;
    return ShopProcess.start({ business, ...(jobs === business ? {} : { jobs }), ...this.#options(options), ...options }, preload);
  }

  lines(what?: TraceLine['what']): TraceLine[] {
    return readTrace(this.trace).filter((line) => what === undefined || line.what === what);
  }

  /** Until no job is left that could still run; by now the server has noticed who is gone. */
  async untilAllEnded(): Promise<void> {
    await this.#database.noticesLostClients?.(this.business);
    let stats = {};
    await until(
      'all jobs have ended',
      async () => {
        const now = await this.observer.stepping.jobs.stats();
        stats = now;
        return now.prepared === 0 && now.submitted === 0;
      },
      () => stats,
    );
  }

  async noticesLostClients(): Promise<void> {
    await this.#database.noticesLostClients?.(this.business);
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
    await this.books.close();
    for (const close of this.#closing.reverse()) await close();
  }

  #options(options: Partial<ShopOptions>): ShopOptions {
    return { node: `node-${++this.#nodes}`, trace: this.trace, steps: STEPS, ...options };
  }
}

/** The observer starts whatever a test needs. */
const ALL_STEPS: readonly StepName[] = [...STEPS, 'outlives', 'deaf', 'kills', 'foul', 'odd', 'ship'];
