import { checkInteger, checkMs, checkName, checkText, refuse } from './check-options.js';
import type { Emitter } from './event-emitter.js';
import { assertGid } from './gid.js';
import type { JobFilter, JobInfo, JobStats, JobStatus, Jobs } from './jobs.js';
import { definitionOf } from './step-definition.js';
import { SteppingError } from './stepping-error.js';
import type { FoundJob, TransactionManager } from './transaction-manager.js';

const STATUSES: readonly JobStatus[] = ['prepared', 'submitted', 'succeeded', 'rolled-back', 'failed', 'cancelled'];
const MAX_PAGE = 1_000;
/** `wait` asks the TM: soon at first, for jobs that take moments, then seldom, for those that take minutes. Unit: ms. */
const FIRST_POLL_MS = 50;
const LAST_POLL_MS = 1_000;
/** Told in this process, they spare `wait` the rest of its pause. */
const ENDINGS = ['job.succeeded', 'job.failed', 'job.cancelled', 'job.rolled-back'] as const;

type Operations = Required<NonNullable<TransactionManager['operations']>>;

/** `stepping.jobs`: checks what is asked and hands it to the transaction manager. */
export class JobsApi implements Jobs {
  readonly #events: Emitter;
  readonly #tm: (what: string) => TransactionManager;

  /** `tm` throws `NOT_STARTED` while there is none to ask. */
  constructor(events: Emitter, tm: (what: string) => TransactionManager) {
    this.#events = events;
    this.#tm = tm;
  }

  async find(gid: string): Promise<JobInfo | undefined> {
    assertGid(gid);
    return shown(await this.#tm('jobs.find').find(gid));
  }

  async list(filter: JobFilter = {}): Promise<{ jobs: JobInfo[]; cursor?: string }> {
    const checked = checkFilter(filter);
    if (filter.limit !== undefined) checkInteger('limit of jobs.list', filter.limit, { min: 1, max: MAX_PAGE });
    return this.#operation('list')(checked);
  }

  async wait(gid: string, options: { timeoutMs: number; signal?: AbortSignal | undefined }): Promise<JobInfo> {
    assertGid(gid);
    const { timeoutMs, signal } = options;
    checkMs('timeoutMs of jobs.wait', timeoutMs);
    const tm = this.#tm('jobs.wait');
    const until = performance.now() + timeoutMs;
    for (let pauseMs = FIRST_POLL_MS; ; pauseMs = Math.min(pauseMs * 1.5, LAST_POLL_MS)) {
      signal?.throwIfAborted();
      // Listens before it looks: what ends in between is heard.
      const ended = this.#ending(gid, signal);
      try {
        const job = shown(await tm.find(gid));
        if (!job) throw notFound(gid);
        if (job.status !== 'prepared' && job.status !== 'submitted') return job;
        const leftMs = until - performance.now();
        if (leftMs <= 0) throw waitTimeout(job, timeoutMs);
        await ended.orAfter(Math.min(pauseMs, leftMs));
      } finally {
        ended.stop();
      }
    }
  }

  async redrive(gid: string): Promise<void> {
    assertGid(gid);
    return this.#operation('redrive')(gid);
  }

  async redriveAll(filter: Omit<JobFilter, 'status' | 'limit' | 'cursor'>): Promise<{ redriven: number }> {
    const { step, tenant, createdAfter, createdBefore } = filter;
    return this.#operation('redriveAll')(checkFilter({ step, tenant, createdAfter, createdBefore }));
  }

  async cancel(gid: string, reason?: string): Promise<void> {
    assertGid(gid);
    if (reason !== undefined) checkText('reason of jobs.cancel', reason);
    return this.#operation('cancel')(gid, reason);
  }

  async purge(options: { finishedBefore: Date }): Promise<{ purged: number }> {
    checkDate('finishedBefore of jobs.purge', options?.finishedBefore);
    return this.#operation('purge')(options);
  }

  async stats(): Promise<JobStats> {
    return this.#operation('stats')();
  }

  async settle(gid: string, verdict: 'submitted' | 'rolled-back', reason: string): Promise<void> {
    assertGid(gid);
    if (verdict !== 'submitted' && verdict !== 'rolled-back') refuse('verdict of jobs.settle', verdict, "'submitted' or 'rolled-back'");
    checkText('reason of jobs.settle', reason);
    return this.#operation('settle')(gid, verdict, reason);
  }

  #operation<K extends keyof Operations>(verb: K): Operations[K] {
    const operations = this.#tm(`jobs.${verb}`).operations;
    const operation = operations?.[verb];
    if (!operation) {
      throw new SteppingError(
        'UNSUPPORTED_BY_TM',
        `jobs.${verb} is not possible with this transaction manager. Use its own tools for that.`,
        { verb },
      );
    }
    return operation.bind(operations) as Operations[K];
  }

  /** A pause that ends early when the job ends in this process or `signal` is aborted. */
  #ending(gid: string, signal: AbortSignal | undefined): { orAfter(ms: number): Promise<void>; stop(): void } {
    const { promise, resolve } = Promise.withResolvers<void>();
    const unsubscribe = ENDINGS.map((event) => this.#events.on(event, (ended) => void (ended.gid === gid && resolve())));
    const onAbort = () => resolve();
    signal?.addEventListener('abort', onAbort, { once: true });
    let timer: NodeJS.Timeout | undefined;
    return {
      orAfter: (ms) => {
        timer = setTimeout(resolve, ms);
        return promise;
      },
      stop: () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
        for (const off of unsubscribe) off();
      },
    };
  }
}

/** What an operator sees: no instance ids, and nothing of a job that is being purged. */
function shown(found: FoundJob | undefined): JobInfo | undefined {
  if (!found || found.status === 'purging') return undefined;
  const { instance: _, ...job } = found;
  return job as JobInfo;
}

/** The TM gets steps by name. */
function checkFilter(filter: JobFilter): JobFilter {
  const { status, step, tenant, createdAfter, createdBefore, cursor } = filter;
  for (const one of Array.isArray(status) ? status : status === undefined ? [] : [status]) {
    if (!STATUSES.includes(one)) refuse('status of a job filter', one, `one of ${STATUSES.join(', ')}`);
  }
  if (typeof step === 'string') checkName('step of a job filter', step);
  if (tenant !== undefined) checkName('tenant of a job filter', tenant);
  if (createdAfter !== undefined) checkDate('createdAfter of a job filter', createdAfter);
  if (createdBefore !== undefined) checkDate('createdBefore of a job filter', createdBefore);
  if (cursor !== undefined) checkName('cursor of a job filter', cursor);
  return step === undefined || typeof step === 'string' ? filter : { ...filter, step: definitionOf(step).name };
}

function checkDate(what: string, value: unknown): void {
  if (value instanceof Date && !Number.isNaN(value.getTime())) return;
  refuse(what, value, 'a Date');
}

function notFound(gid: string): SteppingError<'JOB_NOT_FOUND'> {
  return new SteppingError('JOB_NOT_FOUND', `There is no job ${gid}: it was never stored, or it is finished and was purged.`, { gid });
}

function waitTimeout(job: JobInfo, timeoutMs: number): SteppingError<'WAIT_TIMEOUT'> {
  const next = job.steps[job.step]?.name;
  const error = job.lastError ? `, last error: ${job.lastError.message}` : '';
  return new SteppingError(
    'WAIT_TIMEOUT',
    `Job ${job.gid} is still ${job.status} after ${timeoutMs} ms (step ${job.step + 1} of ${job.steps.length}${next ? `, ${next}` : ''}, attempt ${job.attempt}${error}). It goes on; wait again or look at jobs.find.`,
    { gid: job.gid, status: job.status },
  );
}
