import {
  type DbProviders,
  type EventEmitter,
  type JobFilter,
  type JobInfo,
  type JobStats,
  type JobStatus,
  type Jobs,
  type Logger,
  SteppingError,
  stepName,
} from '@stepping/core';
import type { Clock } from './clock.js';
import { jobInfo } from './job-info.js';
import type { ProcessorLink } from './processor-link.js';
import type { Purger } from './purge.js';
import { decodeSteps } from './stored-steps.js';
import type { Change, StoredStatus, StoreFilter, TransactionStore } from './transaction-store.js';

/** Default and largest page of `list`. */
const DEFAULT_LIMIT = 100;
const MAX_LIMIT = 1_000;

interface LocalOperationsDeps {
  readonly store: TransactionStore;
  readonly databases: DbProviders;
  readonly events: EventEmitter;
  readonly log: Required<Logger>;
  readonly link: ProcessorLink;
  readonly purger: Purger;
  readonly clock: Clock;
}

/** What an operator can do with a local TM's jobs. Every verb is a compare-and-set on the status: it never creates, never forces. */
export class LocalOperations implements Pick<Jobs, 'list' | 'redrive' | 'redriveAll' | 'cancel' | 'purge' | 'stats' | 'settle'> {
  readonly #deps: LocalOperationsDeps;

  constructor(deps: LocalOperationsDeps) {
    this.#deps = deps;
  }

  async list(filter: JobFilter = {}): Promise<{ jobs: JobInfo[]; cursor?: string }> {
    const limit = Math.min(filter.limit ?? DEFAULT_LIMIT, MAX_LIMIT);
    const stored = await this.#deps.store.list({ ...storeFilter(filter), cursor: filter.cursor, limit });
    // The store leaves `purging` rows out.
    const jobs = stored.map((job) => ({ ...jobInfo(job), status: job.status as JobStatus }));
    const last = stored.at(-1);
    return stored.length === limit && last ? { jobs, cursor: last.gid } : { jobs };
  }

  async redrive(gid: string): Promise<void> {
    await this.#change('redrive', { ...change(gid), from: ['failed'], to: 'submitted' });
    // Done already: a poll will find the job if this does not.
    await this.#wake(gid).catch(() => {});
  }

  async redriveAll(filter: Omit<JobFilter, 'status' | 'limit' | 'cursor'>): Promise<{ redriven: number }> {
    const { store } = this.#deps;
    let redriven = 0;
    let cursor: string | undefined;
    const queues = new Set<string>();
    do {
      const failed = await store.list({ ...storeFilter(filter), status: ['failed'], cursor, limit: MAX_LIMIT });
      cursor = failed.length === MAX_LIMIT ? failed.at(-1)?.gid : undefined;
      const size = store.maxBatch ?? MAX_LIMIT;
      for (let i = 0; i < failed.length; i += size) {
        const batch = failed.slice(i, i + size);
        const answers = await store.change(batch.map(({ gid }) => ({ ...change(gid), from: ['failed'], to: 'submitted' })));
        redriven += answers.filter(({ changed }) => changed).length;
        for (const { queue } of batch) queues.add(queue);
      }
    } while (cursor !== undefined);
    for (const queue of queues) this.#deps.link.wake(queue, 0);
    return { redriven };
  }

  async cancel(gid: string, reason = 'Cancelled by an operator'): Promise<void> {
    const { tenant } = (await this.#deps.store.find(gid)) ?? {};
    await this.#change('cancel', {
      ...change(gid),
      from: ['submitted', 'failed'],
      to: 'cancelled',
      error: { name: 'Cancelled', message: reason },
    });
    this.#deps.events.emit('job.cancelled', { gid, tenant });
  }

  async purge({ finishedBefore }: { finishedBefore: Date }): Promise<{ purged: number }> {
    const finishedMsAgo = this.#deps.clock.now() - finishedBefore.getTime();
    let purged = 0;
    for (;;) {
      const batch = await this.#deps.purger.purgeBatch({ finishedMsAgo, failedMsAgo: finishedMsAgo });
      purged += batch.purged;
      if (!batch.more) return { purged };
    }
  }

  stats(): Promise<JobStats> {
    return this.#deps.store.stats();
  }

  async settle(gid: string, verdict: 'submitted' | 'rolled-back', reason: string): Promise<void> {
    const { store, databases, log, events } = this.#deps;
    const found = await store.find(gid);
    if (!found || found.status === 'purging') throw notFound(gid);
    const { tenant, instance, db, steps } = found;
    if (found.status !== 'prepared') throw wrongStatus('settle', gid, found.status);
    // A database that does answer knows better than any person, and its barrier keeps a late commit from contradicting the verdict.
    const answer = db ? ((await databases.find(db)?.resolveInDoubt(gid, instance, db)) ?? 'unknown') : 'unknown';
    if (answer !== 'unknown' && (answer === 'committed') !== (verdict === 'submitted')) {
      throw new SteppingError(
        'JOB_STATUS',
        `Job ${gid} cannot be settled as ${verdict}: its database answers, and says that the transaction is ${answer}. The query-back will settle it.`,
        {
          gid,
          answer,
        },
      );
    }
    const queue = decodeSteps(steps)[0]?.queue ?? 'default';
    await this.#change('settle', {
      ...change(gid),
      instance,
      from: ['prepared'],
      to: verdict,
      queue: verdict === 'submitted' ? queue : undefined,
      error: { name: 'Settled', message: reason },
    });
    log.warn('a prepared job was settled by hand', { gid, verdict, reason, database: answer });
    if (verdict === 'rolled-back') {
      events.emit('job.rolled-back', { gid, tenant });
      return;
    }
    events.emit('job.submitted', { gid, tenant });
    this.#deps.link.wake(queue, 0);
  }

  async #change(verb: string, wanted: Change): Promise<void> {
    const [answer] = await this.#deps.store.change([wanted]);
    if (!answer || answer.changed) return;
    if (!answer.found || answer.found.status === 'purging') throw notFound(wanted.gid);
    throw wrongStatus(verb, wanted.gid, answer.found.status);
  }

  async #wake(gid: string): Promise<void> {
    const found = await this.#deps.store.find(gid);
    if (found) this.#deps.link.wake(found.queue, 0);
  }
}

function change(gid: string): Omit<Change, 'from' | 'to'> {
  return { gid, instance: undefined, queue: undefined, dueInMs: 0, held: false, error: undefined };
}

function storeFilter({ status, step, tenant, createdAfter, createdBefore }: JobFilter): Omit<StoreFilter, 'limit' | 'cursor'> {
  return {
    status: typeof status === 'string' ? [status] : status,
    step: step === undefined || typeof step === 'string' ? step : stepName(step),
    tenant,
    createdAfter,
    createdBefore,
  };
}

function notFound(gid: string): SteppingError<'JOB_NOT_FOUND'> {
  return new SteppingError('JOB_NOT_FOUND', `There is no job ${gid}: it was never stored, or its retention is over.`, { gid });
}

const ALLOWED: Record<string, string> = {
  redrive: 'Only failed jobs can be redriven',
  cancel: 'Only submitted and failed jobs can be cancelled; a prepared one belongs to a transaction that may still commit',
  settle: 'Only prepared jobs can be settled',
};

function wrongStatus(verb: string, gid: string, status: StoredStatus): SteppingError<'JOB_STATUS'> {
  return new SteppingError('JOB_STATUS', `Job ${gid} is ${status}. ${ALLOWED[verb]}.`, { gid, status });
}
