import type { InDoubtAnswer } from '../db-transaction.js';

/** What the reason of a barrier says of the transaction, whoever wrote it (R1). None is an error: our own insert was acknowledged, or refused for one that a majority has not got yet. */
export function answerOf(reason: string | undefined): InDoubtAnswer {
  if (reason === 'msg') return 'committed';
  if (reason === 'rollback') return 'rolled-back';
  return 'unknown';
}
