import type { Clock } from '@stepping/tm-local';

/** A sleep that can be cut short. A call while nobody sleeps makes the next sleep end at once, so no wake-up is lost. */
export class WakeUp {
  readonly #clock: Clock;
  #called = false;
  #end: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  call(): void {
    if (this.#end) this.#end();
    else this.#called = true;
  }

  /** Resolves after `ms`, or when called. */
  async sleep(ms: number): Promise<void> {
    if (!this.#called && ms > 0) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const cancel = this.#clock.setTimeout(resolve, ms);
      this.#end = resolve;
      await promise;
      this.#end = undefined;
      cancel();
    }
    this.#called = false;
  }
}
