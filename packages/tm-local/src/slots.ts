/** At most `size` handlers run at a time; the rest wait, first in, first out. A job that waits for a commit holds no slot. */
export class Slots {
  #free: number;
  #waiting: ((release: (() => void) | undefined) => void)[] = [];
  #closed = false;
  #taken = 0;

  constructor(size: number) {
    this.#free = size;
  }

  /** How many have been given out in all: what a pace is observed by. */
  get taken(): number {
    return this.#taken;
  }

  /** Resolves with what gives the slot back (once; further calls do nothing), or undefined after {@link close}. */
  take(): Promise<(() => void) | undefined> | (() => void) | undefined {
    if (this.#closed) return undefined;
    if (this.#free === 0) return new Promise((resolve) => this.#waiting.push(resolve));
    this.#free--;
    return this.#release();
  }

  /** Whoever waits gets nothing any more; slots in use stay so. */
  close(): void {
    this.#closed = true;
    for (const resolve of this.#waiting.splice(0)) resolve(undefined);
  }

  #release(): () => void {
    this.#taken++;
    let released = false;
    return () => {
      if (released) return;
      released = true;
      const next = this.#waiting.shift();
      if (next) next(this.#release());
      else this.#free++;
    };
  }
}
