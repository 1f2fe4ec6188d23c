/**
 * What A4 asks of a process that takes over jobs of a silent holder: between the write that counts a lost attempt and the start of the next one
 * nothing else is counted or started here. A neighbour that kills the process in between would be charged to a job that never ran.
 */
export class StartGate {
  #closed: Promise<void> | undefined;

  /** Pending while something is being counted. Whoever starts a step waits for it, looks again, and starts in the same turn. */
  get closing(): Promise<void> | undefined {
    return this.#closed;
  }

  /** Runs `countAndStart`, which resolves once the step's code has been called, while nobody else counts or starts. */
  async closed<R>(countAndStart: () => Promise<R>): Promise<R> {
    // Looked at and closed in one turn: of all who waited, one goes in.
    while (this.#closed) await this.#closed;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#closed = promise;
    try {
      return await countAndStart();
    } finally {
      this.#closed = undefined;
      resolve();
    }
  }
}
