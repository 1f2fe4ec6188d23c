/** Shortest window that a pace is taken over. Unit: ms. */
const WINDOW_MS = 50;
/** Weight of the newest window. */
const SMOOTHING = 0.5;

/** How fast handlers start here, observed: what a process may claim ahead follows from it. */
export class Pace {
  #perMs = 0;
  #since: number;
  #count = 0;

  constructor(now: number) {
    this.#since = now;
  }

  /** Starts per millisecond, given how many there have been in all. */
  observe(total: number, now: number): number {
    const elapsed = now - this.#since;
    if (elapsed >= WINDOW_MS) {
      const newest = (total - this.#count) / elapsed;
      // Up at once, down gently: a burst is claimed quickly, and one slow handler does not empty the window.
      this.#perMs = Math.max(newest, this.#perMs * SMOOTHING + newest * (1 - SMOOTHING));
      this.#since = now;
      this.#count = total;
    }
    return this.#perMs;
  }
}
