import type { TransactionJob } from './job.js';

/**
 * Marks the code that runs inside a business transaction which a db package opened (`inTransaction`). What the mark is for:
 * a plain `createJob().start()` in there would run even if the transaction rolls back, so it warns, once, naming `job`;
 * and `stepping.stop()` lets an open body finish, prepare and submit.
 */
export interface TransactionScope {
  /**
   * Runs the whole of a business transaction: begin, body, prepare, commit, submit.
   *
   * @throws {@link SteppingError} `NOT_STARTED` before `start()` and after `stop()`.
   */
  run<R>(work: () => Promise<R>): Promise<R>;
  /**
   * Key of the barrier that this job will want in its transaction, for a db package that can insert it while the transaction begins. Undefined where none will be wanted (the store of jobs is in
   * the same database, and the job a row of the transaction itself), and for a gid that was chosen, which may have had another barrier.
   */
  barrierOf(job: TransactionJob): BarrierKey | undefined;
}

/** What tells the barrier of one start from those of others. */
export interface BarrierKey {
  readonly gid: string;
  readonly instance: string;
}
