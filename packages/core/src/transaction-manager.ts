import type { DbRef, DbTransaction, InDoubtAnswer } from './db-transaction.js';
import type { JobInfo, JobStatus, Jobs } from './jobs.js';

/** One step as it is stored: its name, its queue, its args as JSON text (undefined: none). */
export interface StoredStep {
  readonly name: string;
  readonly queue: string;
  readonly args: string | undefined;
}

/** A job as it is handed to a transaction manager: checked, serialised, with the instance id of this very start. */
export interface NewJob {
  readonly gid: string;
  /** Drawn at random by every `createJob`: tells two starts of one gid apart (R4). */
  readonly instance: string;
  /** The gid was drawn at random for this very start: nobody else can have it. */
  readonly drawn: boolean;
  readonly tenant: string | undefined;
  /** The business database, for a job that is tied to a transaction. */
  readonly db: DbRef | undefined;
  readonly steps: readonly StoredStep[];
}

/**
 * What became of a `start` or `prepare`, by the row found (design §4):
 * `stored` – none was there, or it is a repeat of our own call, or a rolled-back one was revived;
 * `duplicate` – another start of this gid was submitted before; `in-doubt` – another start's outcome is not known yet, or it is just being purged.
 */
export type StartAnswer =
  | { readonly outcome: 'stored'; readonly status: JobStatus }
  | { readonly outcome: 'duplicate'; readonly status: JobStatus }
  | { readonly outcome: 'in-doubt' };

/** Writes a job through the user's own transaction: the store lives in the same database, so there is no barrier and no second commit (design §4, fast path). */
export interface Enlisted {
  /**
   * Inserts the submitted job into the open transaction. `claimed`: store it claimed by this process, if it has room; only for who also
   * calls {@link committed} or {@link abandoned}.
   */
  prepare(job: NewJob, options: { claimed: boolean }): Promise<StartAnswer>;
  /** The commit was acknowledged: start the job here, or wake a processor. Also after {@link abandoned}, when somebody could say so later. */
  committed(gid: string, instance: string): void;
  /** Rolled back, or nobody knows: forget the claim and send nothing more for it. */
  abandoned(gid: string, instance: string): void;
  /** Commit outcome unknown: asks over another connection (R9). Never rejects. Blocks while the transaction is open, for a bounded time. */
  resolve(gid: string, instance: string): Promise<InDoubtAnswer>;
  /** Whether the job row of this instance is there, committed: a select on a connection that is not the user's. Rejects when the store cannot be asked. */
  hasCommitted(gid: string, instance: string): Promise<boolean>;
}

/** What `TransactionManager.find` knows of a job. */
export type FoundJob = Omit<JobInfo, 'status'> & { readonly instance: string; readonly status: JobStatus | 'purging' };

/**
 * Stores jobs and runs their steps: the local TM or DTM. Implemented by `@stepping/tm-local` and `@stepping/tm-dtm`; one conformance suite.
 * A method that rejects with `STORE_UNAVAILABLE` has surely written nothing; with any other error the outcome is unknown.
 */
export interface TransactionManager {
  /**
   * Stores a submitted job without a business transaction. A store that does not answer gets the same write again for at most 10 s.
   *
   * @throws {@link SteppingError} `START_OUTCOME_UNKNOWN` (repeat with the same gid), `STORE_UNAVAILABLE` (nothing was written).
   */
  start(job: NewJob): Promise<StartAnswer>;
  /** Stores a prepared job. Sent once, never again (A2): rejects when refused and when in doubt. */
  prepare(job: NewJob): Promise<StartAnswer>;
  /**
   * Compare-and-set `prepared → submitted` of this instance. Answers whether this call did it, so that the event is told once. False is no
   * error: the query-back was first.
   */
  submit(gid: string, instance: string): Promise<boolean>;
  /** Compare-and-set `prepared → rolled-back` of this instance (A1). Answers whether this call did it; false is no error. */
  abort(gid: string, instance: string): Promise<boolean>;
  /** Reads the job from the primary (R3 decides on it). */
  find(gid: string): Promise<FoundJob | undefined>;
  /**
   * A way into this transaction, if the TM's store lives in its very database; else undefined.
   *
   * @throws {@link SteppingError} `STORE_REFUSED` if the store shares the file but cannot enlist: it would wait for itself.
   */
  enlist?(transaction: DbTransaction): Enlisted | undefined;
  /** Callbacks of an external TM (DTM). */
  handle?(request: Request): Promise<Response>;
  /** What an operator can do; absent verbs are `UNSUPPORTED_BY_TM`. */
  readonly operations?: Partial<Pick<Jobs, 'list' | 'redrive' | 'redriveAll' | 'cancel' | 'purge' | 'stats' | 'settle'>> | undefined;
}
