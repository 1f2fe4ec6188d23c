import type { ClaimedJob } from './transaction-store.js';

/** A place for a job that is about to be stored as claimed by this process. */
export interface Place {
  /** Lease that the row is to be stored with. Unit: ms. */
  readonly leaseMs: number;
  /** The commit is acknowledged: run it. `sentAt`: when the write that claimed it was sent, on the monotonic clock. */
  run(job: ClaimedJob, sentAt: number): void;
  /** Not stored, rolled back, or nobody knows: forget the claim; nothing is sent for it. */
  forget(): void;
}

/** What a processor offers to the TM of its process: run-after-submit, and being woken. */
export interface LocalProcessor {
  /** A place, if the queue is one of its own, no backlog of it would be jumped, and there is room. */
  reserve(queue: string): Place | undefined;
  /** A job of this queue is due in this time: look then. True if it will run here soon, so nobody else needs a hint. */
  wake(queue: string, dueInMs: number): boolean;
}

/** Where a processor of this process links itself to the TM, and the TM finds it. */
export class ProcessorLink implements LocalProcessor {
  #processor: LocalProcessor | undefined;
  readonly #hintOthers: () => void;

  constructor(hintOthers: () => void) {
    this.#hintOthers = hintOthers;
  }

  /** Returns what ends it. */
  link(processor: LocalProcessor): () => void {
    this.#processor = processor;
    return () => {
      if (this.#processor === processor) this.#processor = undefined;
    };
  }

  reserve(queue: string): Place | undefined {
    return this.#processor?.reserve(queue);
  }

  wake(queue: string, dueInMs: number): boolean {
    const runsHere = this.#processor?.wake(queue, dueInMs) ?? false;
    if (dueInMs === 0 && !runsHere) this.#hintOthers();
    return runsHere;
  }
}
