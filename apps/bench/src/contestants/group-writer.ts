/** Group commit as one writes it by hand: what queues up while a batch is in flight goes as the next one. */
export class GroupWriter<W> {
  readonly #send: (batch: readonly W[]) => Promise<void>;
  readonly #maxBatch: number;
  #free: number;
  #scheduled = false;
  #queue: { readonly write: W; readonly resolve: () => void }[] = [];

  constructor(send: (batch: readonly W[]) => Promise<void>, { lanes, maxBatch }: { lanes: number; maxBatch: number }) {
    this.#send = send;
    this.#free = lanes;
    this.#maxBatch = maxBatch;
  }

  /** Resolves when the batch of this write is committed. */
  add(write: W): Promise<void> {
    return new Promise((resolve) => {
      this.#queue.push({ write, resolve });
      this.#schedule();
    });
  }

  #schedule(): void {
    if (this.#scheduled || this.#free === 0 || this.#queue.length === 0) return;
    this.#scheduled = true;
    setImmediate(async () => {
      this.#scheduled = false;
      this.#free--;
      const batch = this.#queue.splice(0, this.#maxBatch);
      this.#schedule();
      await this.#send(batch.map(({ write }) => write));
      this.#free++;
      for (const { resolve } of batch) resolve();
      this.#schedule();
    });
  }
}
