import type { DbTransaction } from './db-transaction.js';
import type { SteppingEvents } from './events.js';
import type { Injectable, ParentContainer } from './injection.js';
import type { Job, JobOptions, TransactionJob } from './job.js';
import type { Jobs } from './jobs.js';
import type { Logger } from './logger.js';
import type { TmPlugin, Use } from './plugin.js';
import type { AnyStep, RetryPolicy } from './step.js';

/** What `createStepping` takes. */
export interface SteppingOptions<S extends readonly AnyStep[] = readonly AnyStep[]> {
  /** What this process can run. Contracts that it only adds to jobs need no entry. */
  steps?: S;
  /** Exactly one transaction manager: `localTm({ store })` or `dtm({ … })`. The only expression that a swap touches. */
  tm: TmPlugin;
  /** Databases, services, other modules. */
  use?: readonly Use[] | undefined;
  /** The container of your application, asked for what ours does not know. */
  container?: ParentContainer | undefined;
  /** Default: silent. */
  logger?: Logger | undefined;
  /** Retry policy of steps that have none, and of what theirs leaves out. */
  retry?: RetryPolicy | undefined;
  /** Largest args of one step, as JSON in UTF-8. Default 262 144 (256 KiB). Unit: bytes. */
  maxArgsBytes?: number | undefined;
}

/** The app: steps, a transaction manager and modules, wired together. `N`: the names of its steps, for completion in an editor. */
export interface Stepping<N extends string = string> {
  /**
   * Checks the wiring, migrates or checks the schemas, starts the modules and the processor.
   *
   * @throws {@link SteppingError} `PLUGIN_MISSING`, `DEPENDENCY_MISSING`, `CONFIG_INVALID`, `STORE_REFUSED`, `STORE_UNAVAILABLE`.
   */
  start(): Promise<void>;
  /**
   * Takes no more work, waits for what runs, at most `drainTimeoutMs`, then aborts the signals and hands the rest back. Ends within
   * `drainTimeoutMs` + 1 s, also when called from a step. Twice is one promise; there is no restart.
   */
  stop(options?: { drainTimeoutMs?: number | undefined }): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
  /**
   * A new job; with `transaction` one that is tied to it.
   *
   * @throws {@link SteppingError} `GID_INVALID`
   */
  createJob<X extends DbTransaction | undefined = undefined>(
    options?: JobOptions & { transaction?: X },
  ): X extends DbTransaction ? TransactionJob : Job;
  /** Creates or upgrades the schemas of the store and of the databases; of one tenant's database when `tenant` is given. Possible before `start()`. */
  migrate(options?: { tenant?: string | undefined }): Promise<void>;
  readonly jobs: Jobs<N>;
  /** A service of the container. @throws {@link SteppingError} `DEPENDENCY_MISSING` */
  resolve<T>(token: Injectable<T>): T;
  /** Returns the unsubscriber. A listener that throws or rejects breaks nothing. */
  on<K extends keyof SteppingEvents>(event: K, listener: (event: SteppingEvents<N>[K]) => unknown): () => void;
  /** Fetch-style endpoint for a TM that calls back (DTM). Answers 404 with one that does not, so mounting it is always right. */
  handle(request: Request): Promise<Response>;
}
