import { AsyncResource } from 'node:async_hooks';
import { SteppingError } from '@stepping/core';
import type { Clock } from './clock.js';
import { WriteRefused } from './transaction-store.js';

/** Wait before the same batch is sent again: doubles up to the second one. Unit: ms. */
const REPEAT_DELAY_MS = 50;
const MAX_REPEAT_DELAY_MS = 1_000;

/** The answer to one write, and whether it was sent more than once: then "0 rows" may be my own first try (R7). */
export interface Acknowledged<A> {
  readonly answer: A;
  readonly repeated: boolean;
}

/** A write was given up without an answer. `sent`: it may have been done, or may land later; else it was surely never sent. */
export class WriteGivenUp extends Error {
  override readonly name = 'WriteGivenUp';
  readonly sent: boolean;

  constructor(sent: boolean, cause: unknown) {
    super(sent ? 'No answer to a write: it may have been done' : 'The store could not be reached', { cause });
    this.sent = sent;
  }
}

interface Queued<W extends { readonly gid: string }, A> {
  readonly write: W;
  /** On the monotonic clock: until then an unheard write is sent again. */
  readonly repeatUntil: number;
  readonly bytes: number;
  readonly resolve: (acknowledged: Acknowledged<A>) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Group commit: while a batch is in flight, further writes queue up; when it returns, all of them go as the next one. No timers, so an idle
 * system has no added latency, and a busy one pays one commit for hundreds of jobs.
 *
 * A batch has at most one write per gid and is sorted by gid. A refused batch is split until the poisonous write is alone; one whose
 * answer was lost is sent again as it was, or given up (R7).
 */
export class GroupCommit<W extends { readonly gid: string }, A> {
  readonly #send: (batch: readonly W[]) => Promise<readonly A[]>;
  readonly #clock: Clock;
  readonly #maxBatch: number;
  readonly #maxBytes: number;
  readonly #sizeOf: (write: W) => number;
  // Batches are sent outside of any caller's async context: a turn that one caller holds is not the writer's.
  readonly #context = new AsyncResource('SteppingGroupCommit');
  #queue: Queued<W, A>[] = [];
  #queuedBytes = 0;
  readonly #gidsInFlight = new Set<string>();
  #freeLanes: number;
  #scheduled = false;

  /** `send` answers in the order of its batch. `lanes`: batches in flight at once. `maxBytes`: bound of what may queue up. */
  constructor(deps: {
    send: (batch: readonly W[]) => Promise<readonly A[]>;
    clock: Clock;
    lanes?: number;
    maxBatch?: number | undefined;
    maxBytes?: number;
    sizeOf?: (write: W) => number;
  }) {
    this.#send = deps.send;
    this.#clock = deps.clock;
    this.#freeLanes = deps.lanes ?? 1;
    this.#maxBatch = deps.maxBatch ?? 1_000;
    this.#maxBytes = deps.maxBytes ?? Number.POSITIVE_INFINITY;
    this.#sizeOf = deps.sizeOf ?? (() => 0);
  }

  /**
   * Queues one write and resolves with its answer. Rejects with {@link WriteRefused} (nothing written), or {@link WriteGivenUp} once an unheard write
   * was repeated for `repeatForMs`; 0: it is never sent twice. Unit: ms.
   */
  add(write: W, repeatForMs: number): Promise<Acknowledged<A>> {
    const bytes = this.#sizeOf(write);
    if (this.#queuedBytes + bytes > this.#maxBytes) {
      return Promise.reject(
        new WriteGivenUp(false, new Error(`${this.#queue.length} writes of ${this.#queuedBytes} bytes wait for the store already`)),
      );
    }
    this.#queuedBytes += bytes;
    return new Promise((resolve, reject) => {
      this.#queue.push({ write, repeatUntil: this.#clock.monotonicMs() + repeatForMs, bytes, resolve, reject });
      this.#schedule();
    });
  }

  #schedule(): void {
    if (this.#scheduled || this.#freeLanes === 0 || this.#queue.length === 0) return;
    this.#scheduled = true;
    // At the end of this turn of the event loop, so that calls of one turn share a batch.
    this.#context.runInAsyncScope(() =>
      setImmediate(() => {
        this.#scheduled = false;
        const batch = this.#takeBatch();
        if (batch.length === 0) return;
        this.#freeLanes--;
        void this.#run(batch).finally(() => {
          this.#freeLanes++;
          for (const { write, bytes } of batch) {
            this.#gidsInFlight.delete(write.gid);
            this.#queuedBytes -= bytes;
          }
          this.#schedule();
        });
        this.#schedule();
      }),
    );
  }

  #takeBatch(): Queued<W, A>[] {
    const batch: Queued<W, A>[] = [];
    const later: Queued<W, A>[] = [];
    for (const queued of this.#queue) {
      if (batch.length === this.#maxBatch || this.#gidsInFlight.has(queued.write.gid)) {
        later.push(queued);
        continue;
      }
      this.#gidsInFlight.add(queued.write.gid);
      batch.push(queued);
    }
    this.#queue = later;
    // One order in all processes: two batches that share rows cannot deadlock.
    return batch.sort((a, b) => (a.write.gid < b.write.gid ? -1 : 1));
  }

  /** Sends a batch until every write of it is answered, refused or given up. Never rejects. */
  async #run(batch: readonly Queued<W, A>[], sentBefore = false): Promise<void> {
    let pending = batch;
    let sent = sentBefore;
    for (let delayMs = REPEAT_DELAY_MS; ; delayMs = Math.min(delayMs * 2, MAX_REPEAT_DELAY_MS)) {
      try {
        const answers = await this.#send(pending.map(({ write }) => write));
        pending.forEach(({ resolve }, i) => {
          resolve({ answer: answers[i] as A, repeated: sent });
        });
        return;
      } catch (error) {
        if (error instanceof WriteRefused) {
          await this.#split(pending, sent, error);
          return;
        }
        // A stopped store sends nothing any more, and will not.
        const stopped = SteppingError.is(error, 'NOT_STARTED');
        sent ||= !stopped && !SteppingError.is(error, 'STORE_UNAVAILABLE');
        const again = stopped ? Number.POSITIVE_INFINITY : this.#clock.monotonicMs() + delayMs;
        for (const { reject, repeatUntil } of pending) if (again > repeatUntil) reject(new WriteGivenUp(sent, error));
        pending = pending.filter(({ repeatUntil }) => again <= repeatUntil);
        if (pending.length === 0) return;
      }
      await new Promise<void>((resolve) => this.#clock.setTimeout(resolve, delayMs));
    }
  }

  async #split(batch: readonly Queued<W, A>[], sent: boolean, refusal: WriteRefused): Promise<void> {
    if (batch.length === 1) {
      batch[0]?.reject(sent ? new WriteGivenUp(true, refusal) : refusal);
      return;
    }
    const half = batch.length >> 1;
    await this.#run(batch.slice(0, half), sent);
    await this.#run(batch.slice(half), sent);
  }
}
