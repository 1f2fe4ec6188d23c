import type { DbProviders, DbRef, EventEmitter, Logger } from '@stepping/core';
import type { Acknowledged } from './group-commit.js';
import { decodeSteps } from './stored-steps.js';
import type { ClaimedJob, Save } from './transaction-store.js';

/** Shortest and longest wait between two questions about one job. Unit: ms. */
const MIN_DELAY_MS = 10_000;
const MAX_DELAY_MS = 60_000;

/** The queue that a prepared job waits in: claimed by processors that have its database. */
export function queryBackQueue(ref: Pick<DbRef, 'provider' | 'name'>): string {
  return `~db/${ref.provider}/${ref.name}`;
}

interface QueryBackDeps {
  readonly save: (save: Save) => Promise<Acknowledged<boolean>>;
  readonly databases: DbProviders;
  readonly events: EventEmitter;
  readonly log: Required<Logger>;
  readonly putBack: (queue: string, dueInMs: number) => void;
}

/**
 * Finds out what became of the business transaction of a job that is still prepared: asks the database, and saves the verdict under the fence, once it is sure
 * (R1). Anything unsure is asked again later, never decided.
 */
export class QueryBack {
  readonly #deps: QueryBackDeps;

  constructor(deps: QueryBackDeps) {
    this.#deps = deps;
  }

  /** Never rejects. */
  async resolve(job: ClaimedJob): Promise<void> {
    try {
      const answer = await this.#ask(job);
      if (answer === 'committed') await this.#submit(job);
      else if (answer === 'rolled-back') await this.#rollBack(job);
      else await this.#askLater(job);
    } catch (error) {
      this.#deps.log.warn('the verdict on a prepared job could not be saved; it is asked again when its lease ends', {
        gid: job.gid,
        error,
      });
    }
  }

  async #ask({ gid, instance, db }: ClaimedJob): Promise<'committed' | 'rolled-back' | 'unknown'> {
    const provider = db && this.#deps.databases.find(db);
    if (!db || !provider) {
      this.#deps.log.error('a prepared job names a database that this process does not have', { gid, db, code: 'DB_UNKNOWN' });
      return 'unknown';
    }
    return provider.resolveInDoubt(gid, instance, db);
  }

  async #submit(job: ClaimedJob): Promise<void> {
    const { gid, tenant } = job;
    const queue = decodeSteps(job.steps)[0]?.queue ?? 'default';
    if (!(await this.#save(job, { status: 'submitted', queue, dueInMs: 0, error: undefined }))) return;
    this.#deps.events.emit('job.submitted', { gid, tenant });
    this.#deps.putBack(queue, 0);
  }

  async #rollBack(job: ClaimedJob): Promise<void> {
    const { gid, tenant } = job;
    if (!(await this.#save(job, { status: 'rolled-back', queue: undefined, dueInMs: undefined, error: undefined }))) return;
    this.#deps.events.emit('job.rolled-back', { gid, tenant });
  }

  async #askLater(job: ClaimedJob): Promise<void> {
    const { gid, tenant, ageMs } = job;
    // As long again as it has been prepared already: 10 s, 20 s, 40 s, then every minute.
    const dueInMs = Math.min(Math.max(ageMs, MIN_DELAY_MS), MAX_DELAY_MS);
    if (!(await this.#save(job, { status: 'prepared', queue: undefined, dueInMs, error: undefined }))) return;
    this.#deps.putBack(job.queue, dueInMs);
    if (ageMs < MAX_DELAY_MS) return;
    this.#deps.log.warn('a job has been prepared for a minute or more: its transaction is still open, or its database cannot be asked', {
      gid,
      ageMs,
      db: job.db,
    });
    this.#deps.events.emit('job.prepared-too-long', { gid, tenant });
  }

  async #save({ gid, lease }: ClaimedJob, values: Pick<Save, 'status' | 'queue' | 'dueInMs' | 'error'>): Promise<boolean> {
    return (await this.#deps.save({ gid, lease, step: 0, attempt: 1, giveUp: true, ...values })).answer;
  }
}
