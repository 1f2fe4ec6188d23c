import type { InDoubtAnswer } from './db-transaction.js';

/**
 * How the transaction manager learns what became of a business transaction: by a barrier in its database and a prepared job
 * ({@link TwoPhaseMessage}), or because the job is a row of that very transaction ({@link EnlistedMessage}).
 */
export interface Message {
  /**
   * Writes what has to be written before the commit. When it rejects, the job will not run, even if the caller goes on and commits:
   * what was written into the transaction was taken out again, or the transaction was ended.
   */
  prepare(): Promise<void>;
  /** Whether the commit can be seen, over another connection. True is proof, false is none (A3). May reject. */
  hasCommitted(): Promise<boolean>;
  /** Asks until somebody can say what became of the transaction (R3, R9). Never rejects. */
  resolve(): Promise<InDoubtAnswer>;
  /** The transaction surely committed: the steps may run. Never rejects. */
  committed(): Promise<void>;
  /** The transaction surely did not and will not commit. Never rejects. */
  rolledBack(): Promise<void>;
  /** Nobody can say, and nobody will be asked again soon. */
  undecided(): void;
}
