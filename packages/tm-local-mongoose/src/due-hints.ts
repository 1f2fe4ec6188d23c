import { setTimeout as sleep } from 'node:timers/promises';
import type { mongo } from 'mongoose';
import type { JobCollection, JobDocument } from './job-document.js';
import { FROM_MAJORITY } from './own-client.js';

/** Jobs that come together are one hint. Unit: ms. */
const MIN_INTERVAL_MS = 5;
/** Before a stream that was lost, or is refused, is opened anew. Unit: ms. */
const REOPEN_MS = 1_000;

/** Jobs that became due now and are held by nobody: stored or revived so, submitted or redriven, or passed on to another queue. Whatever else becomes due, the poll finds. */
const BECAME_DUE = {
  $or: [
    { operationType: { $in: ['insert', 'replace'] }, 'fullDocument.status': 'submitted', 'fullDocument.held': 0 },
    {
      operationType: 'update',
      'updateDescription.updatedFields.status': 'submitted',
      'updateDescription.updatedFields.held': { $ne: 1 },
    },
    {
      operationType: 'update',
      'updateDescription.updatedFields.queue': { $exists: true },
      'updateDescription.updatedFields.held': 0,
    },
  ],
};

/**
 * Hears from a change stream that jobs became due, for as long as somebody listens. It sees what a majority has, after the commit. Only hints: whatever goes wrong here costs a poll.
 */
export class DueHints {
  readonly #jobs: JobCollection;
  readonly #listeners = new Set<() => void>();
  #stream: mongo.ChangeStream<JobDocument> | undefined;
  #listening: Promise<void> | undefined;
  #telling = false;
  readonly #stopped = new AbortController();

  constructor(jobs: JobCollection) {
    this.#jobs = jobs;
  }

  onDue(listener: () => void): () => void {
    this.#listeners.add(listener);
    this.#listening ??= this.#listen().finally(() => {
      this.#listening = undefined;
    });
    return () => {
      if (this.#listeners.delete(listener) && this.#listeners.size === 0) void this.#close();
    };
  }

  async stop(): Promise<void> {
    this.#listeners.clear();
    this.#stopped.abort();
    await this.#close();
    await this.#listening;
  }

  async #listen(): Promise<void> {
    while (this.#listeners.size > 0) {
      try {
        await this.#follow();
      } catch {
        // Lost, refused, or its history is gone: a new one without a place to resume at. What came meanwhile, the poll finds.
      }
      if (this.#listeners.size > 0) await sleep(REOPEN_MS, undefined, { ref: false, signal: this.#stopped.signal }).catch(() => {});
    }
  }

  async #follow(): Promise<void> {
    const stream = this.#jobs.watch<JobDocument>([{ $match: BECAME_DUE }, { $project: { _id: 1 } }], FROM_MAJORITY);
    this.#stream = stream;
    try {
      while (this.#listeners.size > 0) {
        await stream.next();
        this.#tellSoon();
      }
    } finally {
      await stream.close().catch(() => {});
    }
  }

  #tellSoon(): void {
    if (this.#telling) return;
    this.#telling = true;
    setTimeout(() => {
      this.#telling = false;
      for (const listener of this.#listeners) listener();
    }, MIN_INTERVAL_MS).unref();
  }

  async #close(): Promise<void> {
    await this.#stream?.close().catch(() => {});
  }
}
