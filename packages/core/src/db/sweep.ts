import type { LedgerTable } from './ledger-table.js';

/** Rows and gids at a time. */
const BATCH = 500;
/**
 * Barriers of steps stay for a year at least. Whoever sweeps can ask for jobs of its own store only, and another app on this database may keep its jobs elsewhere: what is
 * removed here too early would run again after a late redrive. Unit: ms.
 */
const MIN_EFFECT_AGE_MS = 365 * 86_400_000;
/** Questions to the transaction manager at a time. */
const QUESTIONS = 8;

export interface SweepOptions {
  readonly retentionMs: number;
  /** Whether there is a job of this gid, in whatever state. */
  readonly hasJob: (gid: string) => Promise<boolean>;
}

/** What a sweep does to the barriers of a database, by the clock of the database or of who wrote them. */
export interface SweptBarriers {
  /** Deletes barriers of received keys, older than this: up to `limit`, or all. Answers how many. */
  deleteReceived(olderThanMs: number, limit: number): Promise<number>;
  /** Jobs whose steps have left barriers older than this, in the order of gids from after `after`. */
  effectsOf(olderThanMs: number, after: string, limit: number): Promise<string[]>;
  /** Deletes the barriers of these jobs' steps, older than this. */
  deleteEffects(olderThanMs: number, gids: readonly string[]): Promise<void>;
}

/**
 * Removes barriers of effects that nobody else removes: those of received keys, by their age alone; and those of steps whose job is gone without having told where they are (it was
 * cancelled between the commit of the effect and the checkpoint). One whose job is there stays, however old.
 */
export async function sweepBarriers(barriers: SweptBarriers, { retentionMs, hasJob }: SweepOptions): Promise<void> {
  while ((await barriers.deleteReceived(retentionMs, BATCH)) === BATCH);
  const effectAgeMs = Math.max(retentionMs, MIN_EFFECT_AGE_MS);
  let after = '';
  for (;;) {
    const gids = await barriers.effectsOf(effectAgeMs, after, BATCH);
    const orphans: string[] = [];
    for (let i = 0; i < gids.length; i += QUESTIONS) {
      const asked = gids.slice(i, i + QUESTIONS);
      const known = await Promise.all(asked.map(hasJob));
      orphans.push(...asked.filter((_, n) => !known[n]));
    }
    if (orphans.length > 0) await barriers.deleteEffects(effectAgeMs, orphans);
    if (gids.length < BATCH) return;
    after = gids.at(-1) as string;
  }
}

/** Removes what a ledger remembers of steps that nobody has touched for so long. */
export async function sweepLedger(ledger: LedgerTable, { retentionMs }: Pick<SweepOptions, 'retentionMs'>): Promise<void> {
  while ((await ledger.deleteOld(retentionMs, BATCH)) === BATCH);
}
