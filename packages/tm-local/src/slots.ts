import { type Clock, systemClock } from './clock.js';

/** Gives a slot back; once, further calls do nothing. */
export type Release = () => void;

interface Waiting {
  readonly since: number;
  readonly resolve: (release: Release | undefined) => void;
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

  /** Resolves with what gives the slot back, or undefined after {@link close} and for who was {@link dismiss}ed. */
  take(): Promise<Release | undefined> | Release | undefined {
    if (this.#closed) return undefined;
    if (this.#free === 0) return new Promise((resolve) => this.#waiting.push({ since: this.#clock.monotonicMs(), resolve }));
    this.#free--;
    return this.#release();
  }

  /** Sends away who has waited for longer than `ms`. */
  dismiss(ms: number): void {
    const since = this.#clock.monotonicMs() - ms;
    // Who came first waits longest.
    while (this.#waiting[0] && this.#waiting[0].since < since) this.#waiting.shift()?.resolve(undefined);
  }

  /** Whoever waits gets nothing any more; slots in use stay so. */
  close(): void {
    this.#closed = true;
    for (const { resolve } of this.#waiting.splice(0)) resolve(undefined);
  }

  #release(): Release {
    this.#taken++;
    let released = false;
    return () => {
      if (released) return;
      released = true;
      const next = this.#waiting.shift();
      if (next) next.resolve(this.#release());
      else this.#free++;
    };
  }
}
