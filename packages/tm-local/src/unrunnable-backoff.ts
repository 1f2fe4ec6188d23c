/** First and longest wait before an unrunnable step is looked at again. Unit: ms. */
const FIRST_MS = 1_000;
const LONGEST_MS = 60_000;
/** Names and gids remembered; the oldest goes first. */
const MAX_KEYS = 1_000;

/**
 * How long a job rests that this process cannot run: doubling per step name (unknown here) or gid (args that do not parse). All that come before the rest of the first one is over rest
 * as long as it did: a hundred jobs of the next release that were claimed together are looked at again in a second, by whoever can run them. Kept in memory, because it is a property of
 * this process: the next release starts anew.
 */
export class UnrunnableBackoff {
  readonly #rests = new Map<string, { readonly restMs: number; readonly endsAt: number }>();

  /** `now`: on the monotonic clock. Unit: ms. */
  nextMs(key: string, now: number): number {
    const last = this.#rests.get(key);
    if (last && now < last.endsAt) return last.restMs;
    const restMs = last ? Math.min(last.restMs * 2, LONGEST_MS) : FIRST_MS;
    this.#rests.delete(key);
    this.#rests.set(key, { restMs, endsAt: now + restMs });
    if (this.#rests.size > MAX_KEYS) this.#rests.delete(this.#rests.keys().next().value as string);
    return restMs;
  }
}
