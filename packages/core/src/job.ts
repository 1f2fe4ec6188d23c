import type { JobStatus } from './jobs.js';
import type { AddArgs, AnyStep } from './step.js';

/** Options of `createJob`. */
export interface JobOptions {
  /**
   * Your own id makes the start idempotent: a second start of the same gid is a duplicate for as long as the job is kept. Up to 128 of
   * `A-Z a-z 0-9 _ -`; `gidFrom(…)` makes one of any text. Default: a new UUIDv7.
   */
  gid?: string | undefined;
  /** Handed to every step as `ctx.tenant`, and names the business database where there is one per tenant. 1 to 200 characters. */
  tenant?: string | undefined;
}

/** A job being put together. Nothing is written before it is started or prepared. */
export interface JobBuilder {
  readonly gid: string;
  /** A transaction whose body added no step commits without a job. */
  readonly stepCount: number;
  /**
   * Adds a step; steps run in this order. The args are copied now.
   *
   * @throws {@link SteppingError} `STEP_UNKNOWN` (implemented here, but not in `steps: […]`), `ARGS_NOT_JSON`, `ARGS_TOO_LARGE`, `JOB_ALREADY_STARTED`.
   */
  addStep<S extends AnyStep>(step: S, ...args: AddArgs<S>): this;
}

/** What `start()` resolves to. `duplicate`: this gid was started before, by another call; nothing was written. */
export interface StartedJob {
  gid: string;
  status: JobStatus;
  duplicate: boolean;
}

/** A job without a business transaction. */
export interface Job extends JobBuilder {
  /**
   * Stores the job. Resolves when it is stored, not when its steps have run: for that see `jobs.wait`.
   *
   * After an error it may be called again, which repeats the very same write; after it has resolved it throws `JOB_ALREADY_STARTED`.
   *
   * @throws {@link SteppingError} `JOB_EMPTY`, `ARGS_INVALID`, `JOB_TOO_LARGE`, `JOB_ALREADY_STARTED`, `NOT_STARTED`: nothing was written.
   * `JOB_IN_DOUBT`: another start of this gid is undecided, try again in a few seconds. `STORE_UNAVAILABLE`: nothing was written.
   * `START_OUTCOME_UNKNOWN`: repeat it with the same gid. `TX_NESTED`: called inside `inTransaction` on a SQLite file that it would wait for.
   */
  start(): Promise<StartedJob>;
}

/** A job tied to a business transaction: its steps run if, and only if, that transaction committed. */
export interface TransactionJob extends JobBuilder {
  /**
   * Barrier, prepare, commit, submit, in one call. Resolves once committed; a submit that fails then is made up for by the query-back.
   * The transaction is handed over: whatever it throws but `TX_NOT_OWNED`, the transaction is rolled back.
   *
   * @throws {@link SteppingError} `JOB_DUPLICATE` or `JOB_IN_DOUBT` after rolling back; `TX_NOT_OWNED` where somebody else commits or another job is prepared on this transaction;
   * `COMMIT_OUTCOME_UNKNOWN` when nobody can say yet; the driver's own error, unwrapped, when the commit failed.
   */
  start(): Promise<StartedJob>;
  /**
   * Writes the barrier into the open transaction, then stores the job as prepared (in the same database: the job itself, in the transaction).
   * Commit yourself, then call {@link submit}. If the process dies in between, the query-back asks the database and submits or drops the job.
   *
   * @throws {@link SteppingError} `JOB_EMPTY`, `TX_NOT_ACTIVE`, `TX_NESTED`, `DB_UNKNOWN`, `DB_MISMATCH`, `JOB_DUPLICATE`, `JOB_IN_DOUBT`: roll back. After a
   * failed prepare every later call on this job throws the same error; a retry is a new job.
   * @see DTM, two-phase message; Stepping.NET `IAdvancedAtomicJob.PrepareAndInsertBarrierAsync`.
   */
  prepare(): Promise<void>;
  /**
   * Tells the transaction manager that you committed. Looks for the committed barrier first, so calling it after a rollback is harmless: `'rolled-back'`.
   *
   * @throws {@link SteppingError} `TX_STILL_ACTIVE` while the transaction is open; `COMMIT_OUTCOME_UNKNOWN` when nobody can say yet: call it again;
   * `JOB_STATUS` if the job was not prepared.
   */
  submit(): Promise<'submitted' | 'rolled-back'>;
  /**
   * Asks the database what became of the transaction, when your own commit failed or its outcome is unknown. After `'committed'` call {@link submit};
   * `'rolled-back'` is told to the transaction manager at once, so that the gid is free for the next try.
   *
   * @throws {@link SteppingError} `JOB_STATUS` if the job was not prepared.
   */
  resolve(): Promise<'committed' | 'rolled-back' | 'unknown'>;
}
