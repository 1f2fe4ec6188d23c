/** How far an estimate may lie before the server's own time, at most: a look that begins with it finds all that is due. Unit: ms. */
const SLACK_MS = 1_000;

/**
 * Guesses the server's time from the last one that it told, by the monotonic clock of this process. Only for where a look at the index ends: what is due, the server's own time decides.
 */
export class ServerClock {
  #aheadMs = Date.now() - performance.now();

  /** Each answer of the server that tells the time. */
  heard(now: Date): void {
    this.#aheadMs = now.getTime() - performance.now();
  }

  /** Later than now, by a moment. */
  soon(): Date {
    return new Date(performance.now() + this.#aheadMs + SLACK_MS);
  }
}
