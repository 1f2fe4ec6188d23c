/**
 * What A4 asks of a process that takes over jobs of a silent holder: between the write that counts a lost attempt and the start of the next one
 * nothing else is counted or started here. A neighbour that kills the process in between would be charged to a job that never ran.
 */
export class StartGate {
  #closed: Promise<void> | undefined;
  #suspect: Promise<void> | undefined;
  #suspectsWaiting = 0;

  /** Jobs that wait in {@link suspect}: they take no part in how much a process claims ahead. */
  get suspectsWaiting(): number {
    return this.#suspectsWaiting;
  }

  /** Resolves when nothing is being counted. What the caller then does without awaiting is inside the gate. */
  async pass(): Promise<void> {
    while (this.#closed) await this.#closed;
  }

  /**
   * Runs `countAndStart`, which resolves once the step's code has been called, while nothing else passes.
   */
  async closed<R>(countAndStart: () => Promise<R>): Promise<R> {
    await this.pass();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#closed = promise;
    try {
      return await countAndStart();
    } finally {
      this.#closed = undefined;
      resolve();
    }
  }

  /** Waits until no other suspect runs: a job that may have killed its worker twice runs with no other such job beside it. Resolves with what ends it. */
  async suspect(): Promise<() => void> {
    this.#suspectsWaiting++;
    while (this.#suspect) await this.#suspect;
    this.#suspectsWaiting--;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#suspect = promise;
    return () => {
      this.#suspect = undefined;
      resolve();
    };
  }
}
