import type { Barriers } from './barriers.js';

/** Gids at a time. */
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

/**
 * Removes barriers of effects that nobody else removes: those of received keys, by their age alone; and those of steps whose job is gone without having told where they are (it was
 * cancelled between the commit of the effect and the checkpoint). One whose job is there stays, however old.
 */
export async function sweepBarriers(barriers: Barriers, { retentionMs, hasJob }: SweepOptions): Promise<void> {
  await barriers.deleteReceived(retentionMs);
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
