/** First and longest wait before an unrunnable step is looked at again. Unit: ms. */
const FIRST_MS = 1_000;
const LONGEST_MS = 60_000;
/** Names and gids remembered; the oldest goes first. */
const MAX_KEYS = 1_000;

/**
 * How long a job rests that this process cannot run: doubling per step name (unknown here) or gid (args that do not parse). Kept in memory, because it is a
 * property of this process: the next release starts anew.
 */
export class UnrunnableBackoff {
  readonly #delays = new Map<string, number>();

  nextMs(key: string): number {
    const delayMs = this.#delays.get(key) ?? FIRST_MS;
    this.#delays.delete(key);
    this.#delays.set(key, Math.min(delayMs * 2, LONGEST_MS));
    if (this.#delays.size > MAX_KEYS) this.#delays.delete(this.#delays.keys().next().value as string);
    return delayMs;
  }
}
