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
}
