import type { InDoubtAnswer } from '@stepping/core';

/** The barrier table of one database, on connections of our own. */
export interface Barriers {
  migrate(): Promise<void>;
  /** See `DbProvider.resolveInDoubt`; rejects where that is `unknown`. */
  resolveInDoubt(gid: string, instance: string): Promise<InDoubtAnswer>;
  hasCommitted(gid: string, instance: string): Promise<boolean>;
  purge(gids: readonly string[]): Promise<void>;
  /** Up to `limit` barriers of received keys, older than this; answers how many. For {@link sweepBarriers}, as the next two. */
  deleteReceived(olderThanMs: number, limit: number): Promise<number>;
  /** Jobs whose steps have left barriers older than this, in the order of gids from after `after`. */
  effectsOf(olderThanMs: number, after: string, limit: number): Promise<string[]>;
  /** The barriers of these jobs' steps, older than this. */
  deleteEffects(olderThanMs: number, gids: readonly string[]): Promise<void>;
  close(): Promise<void>;
}

/** How long an in-doubt question waits for a transaction that is open. Unit: ms. */
export const LOCK_TIMEOUT_MS = 1_500;

/** What the reason of a barrier says of the transaction. No row is an error: our own insert was acknowledged. */
export function answerOf(row: { readonly reason: string } | undefined): InDoubtAnswer {
  if (row?.reason === 'msg') return 'committed';
  if (row?.reason === 'rollback') return 'rolled-back';
  return 'unknown';
}
