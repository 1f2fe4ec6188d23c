import type { Clock } from '@stepping/tm-local';

/**
 * Calls `work` after `firstMs`, and then again after as long as it says, one call after the other, until ended. `work` must not reject.
 * Returns what ends it.
 */
export function repeat(clock: Clock, firstMs: number, work: () => Promise<number>): () => void {
  let ended = false;
  let cancel = () => {};
  const next = (ms: number) => {
    cancel = clock.setTimeout(async () => {
      const againMs = await work();
      if (!ended) next(againMs);
    }, ms);
  };
  next(firstMs);
  return () => {
    ended = true;
    cancel();
  };
}
