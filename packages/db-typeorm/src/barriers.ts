import type { InDoubtAnswer } from '@stepping/core';
import type { SweptBarriers } from '@stepping/core/db';

/** The barrier table of one database, on connections of our own. */
export interface Barriers extends SweptBarriers {
  /** See `DbProvider.resolveInDoubt`; rejects where that is `unknown`. */
  resolveInDoubt(gid: string, instance: string): Promise<InDoubtAnswer>;
  hasCommitted(gid: string, instance: string): Promise<boolean>;
  purge(gids: readonly string[]): Promise<void>;
}

/** How long an in-doubt question waits for a transaction that is open. Unit: ms. */
export const LOCK_TIMEOUT_MS = 1_500;
