import { type Clock, systemClock } from './clock.js';

interface Waiting {
  readonly since: number;
  readonly resolve: (taken: boolean) => void;
}

/** At most `size` at a time; the rest wait, first in, first out. */
export class Slots {
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  #free: number;
  #waiting: Waiting[] = [];
  #closed = false;
  #taken = 0;

  constructor(size: number, clock: Pick<Clock, 'monotonicMs'> = systemClock) {
    this.#free = size;
    this.#clock = clock;
  }

  /** How many have been given out in all: what a pace is observed by. */
  get taken(): number {
    return this.#taken;
  }

  /** How many wait for one. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** True: a slot is the caller's until {@link release}. False after {@link close}, and for who was {@link dismiss}ed. */
  take(): Promise<boolean> | boolean {
    if (this.#closed) return false;
    if (this.#free === 0) return new Promise((resolve) => this.#waiting.push({ since: this.#clock.monotonicMs(), resolve }));
    this.#free--;
    this.#taken++;
    return true;
  }

  /** Gives back a slot that was taken. */
  release(): void {
    const next = this.#waiting.shift();
    if (next === undefined) {
      this.#free++;
      return;
    }
    this.#taken++;
    next.resolve(true);
  }

  /** Sends away who has waited for longer than `ms`. */
  dismiss(ms: number): void {
    const since = this.#clock.monotonicMs() - ms;
    // Who came first waits longest.
    while (this.#waiting[0] && this.#waiting[0].since < since) this.#waiting.shift()?.resolve(false);
  }

  /** Whoever waits gets nothing any more; slots in use stay so. */
  close(): void {
    this.#closed = true;
    for (const { resolve } of this.#waiting.splice(0)) resolve(false);
  }
}
