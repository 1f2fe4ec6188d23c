import type { DbRef, InDoubtAnswer, JobStatus } from '@stepping/core';
import { answerByRow, verdictByRow } from './answers.js';
import { Clock } from './clock.js';
import { firstLease } from './first-lease.js';
import { type JobRow, MemoryDatabase, MemoryTransaction } from './memory-database.js';
import { Store, type StorePlugin } from './plugins.js';
import { NO_STEPS } from './stored-steps.js';
import type {
  Change,
  ChangeAnswer,
  ClaimedJob,
  CreateAnswer,
  CreateJob,
  EnlistedStore,
  Lease,
  PurgingJob,
  Save,
  StoredJob,
  StoreFilter,
  TransactionStore,
} from './transaction-store.js';

/** What {@link memoryStore} makes. */
export interface MemoryStorePlugin extends StorePlugin {
  /** Its data: everybody who is given this very plugin shares them. */
  readonly database: MemoryDatabase;
}

/**
 * Keeps jobs in the memory of this process, for tests and for trying things out: everything works, and all is lost when the process ends.
 * Two apps that are given the same value share its jobs, as two processes share a database.
 *
 * @example createStepping({ steps, tm: localTm({ store: memoryStore(), processor: hostedProcessor() }) })
 */
export function memoryStore(): MemoryStorePlugin {
  const database = new MemoryDatabase('default');
  return {
    name: 'memory-store',
    provides: 'store',
    database,
    register: (registry) =>
      registry.provide(Store, (r) => {
        database.clock = r.resolve(Clock);
        return new MemoryTransactionStore(database);
      }),
  };
}

/** How long a create waits for a row that is uncommitted elsewhere. Short: the rest of its batch waits, too. Unit: ms. */
const LOCK_TIMEOUT_MS = 200;
/** How long {@link TransactionStore.resolve} does. Unit: ms. */
const RESOLVE_TIMEOUT_MS = 2_000;
/** After this long another purge takes over a row that one left half-way. Unit: ms. */
const PURGE_TAKEOVER_MS = 600_000;

/** A {@link TransactionStore} over a {@link MemoryDatabase}; several over one are the views of several processes. */
export class MemoryTransactionStore implements TransactionStore {
  readonly #database: MemoryDatabase;
  readonly #jobs: MemoryDatabase['jobs'];

  constructor(database: MemoryDatabase) {
    this.#database = database;
    this.#jobs = database.jobs;
  }

  create(jobs: readonly CreateJob[]): Promise<readonly CreateAnswer[]> {
    return Promise.all(jobs.map((job) => this.#create(job, LOCK_TIMEOUT_MS)));
  }

  createAlone(job: CreateJob, waitMs: number): Promise<CreateAnswer> {
    return this.#create(job, waitMs);
  }

  async #create(job: CreateJob, waitMs: number, transaction?: MemoryTransaction): Promise<CreateAnswer> {
    transaction?.assertOpen();
    const write = () => {
      const found = this.#jobs.read(job.gid, transaction);
      const answer = answerTo(job, found);
      if (answer.outcome === 'stored') this.#jobs.write(job.gid, newRow(job, answer.lease, this.#now()), transaction);
      return answer;
    };
    const answer = await this.#jobs.whenFree(job.gid, waitMs, write, transaction);
    return answer === 'locked' ? { outcome: 'locked' } : answer;
  }

  async save(saves: readonly Save[]): Promise<ReadonlySet<string>> {
    const now = this.#now();
    return this.#update(saves, (row, save) => {
      const inOrder = save.giveUp ? row.step <= save.step : row.step < save.step || (row.step === save.step && row.attempt <= save.attempt);
      return row.lease === save.lease && inOrder ? savedRow(row, save, now) : undefined;
    });
  }

  async extend(leases: readonly Lease[], leaseMs: number): Promise<ReadonlySet<string>> {
    const dueAt = this.#now() + leaseMs;
    return this.#update(leases, (row, { lease }) => (row.lease === lease ? { ...row, dueAt } : undefined));
  }

  async change(changes: readonly Change[]): Promise<readonly ChangeAnswer[]> {
    const now = this.#now();
    return changes.map((change) => {
      const row = this.#jobs.read(change.gid);
      if (!row) return { changed: false, found: undefined };
      const matches = change.from.includes(row.status) && (change.instance === undefined || change.instance === row.instance);
      if (!matches) return { changed: false, found: { status: row.status, instance: row.instance } };
      const changed = changedRow(row, change, now);
      this.#jobs.write(row.gid, changed);
      return { changed: true, lease: changed.lease };
    });
  }

  async claimDue({ queue, limit, leaseMs }: { queue: string; limit: number; leaseMs: number }): Promise<readonly ClaimedJob[]> {
    const now = this.#now();
    return this.#rows((row) => row.queue === queue && row.dueAt !== undefined && row.dueAt <= now)
      .sort((a, b) => Number(a.dueAt) - Number(b.dueAt))
      .slice(0, limit)
      .map((row) => {
        const claimed = { ...row, dueAt: now + leaseMs, lease: row.lease + 1, held: true };
        this.#jobs.write(row.gid, claimed);
        return {
          gid: row.gid,
          instance: row.instance,
          status: row.status as ClaimedJob['status'],
          queue: row.queue,
          step: row.step,
          attempt: row.attempt,
          lease: claimed.lease,
          wasHeld: row.held,
          tenant: row.tenant,
          db: row.db,
          steps: row.steps,
          ageMs: now - row.createdAt,
        };
      });
  }

  async nextDueInMs(queues: readonly string[]): Promise<ReadonlyMap<string, number>> {
    const now = this.#now();
    const next = new Map<string, number>();
    for (const { queue, dueAt } of this.#jobs.rows()) {
      if (dueAt === undefined || !queues.includes(queue)) continue;
      next.set(queue, Math.min(next.get(queue) ?? Number.POSITIVE_INFINITY, Math.max(0, dueAt - now)));
    }
    return next;
  }

  async resolve(gid: string, instance: string): Promise<InDoubtAnswer> {
    const answer = await this.#jobs.whenFree(gid, RESOLVE_TIMEOUT_MS, (): InDoubtAnswer => {
      const found = this.#jobs.read(gid);
      if (found) return verdictByRow(instance, found);
      this.#jobs.write(gid, rolledBackRow(gid, instance, this.#now()));
      return 'rolled-back';
    });
    return answer === 'locked' ? 'unknown' : answer;
  }

  async find(gid: string): Promise<StoredJob | undefined> {
    const row = this.#jobs.read(gid);
    return row && storedJob(row);
  }

  async list(filter: StoreFilter): Promise<readonly StoredJob[]> {
    return this.#rows((row) => fits(row, filter))
      .sort((a, b) => (a.gid < b.gid ? -1 : 1))
      .slice(0, filter.limit)
      .map(storedJob);
  }

  async stats(): Promise<Record<JobStatus, number> & { oldestDueMs: number; oldestPreparedMs: number }> {
    const now = this.#now();
    const stats = {
      prepared: 0,
      submitted: 0,
      succeeded: 0,
      'rolled-back': 0,
      failed: 0,
      cancelled: 0,
      oldestDueMs: 0,
      oldestPreparedMs: 0,
    };
    for (const { status, dueAt, createdAt } of this.#jobs.rows()) {
      if (status === 'purging') continue;
      stats[status]++;
      if (status === 'submitted' && dueAt !== undefined) stats.oldestDueMs = Math.max(stats.oldestDueMs, now - dueAt);
      if (status === 'prepared') stats.oldestPreparedMs = Math.max(stats.oldestPreparedMs, now - createdAt);
    }
    return stats;
  }

  async startPurge(purge: { finishedMsAgo: number; failedMsAgo: number; limit: number }): Promise<readonly PurgingJob[]> {
    const now = this.#now();
    const isOld = (row: JobRow) => {
      if (row.status === 'purging') return now - Number(row.purgingSince) >= PURGE_TAKEOVER_MS;
      if (row.finishedAt === undefined) return false;
      return now - row.finishedAt >= (row.status === 'failed' ? purge.failedMsAgo : purge.finishedMsAgo);
    };
    // A rolled-back row that is being revived stays: its new life is not committed yet.
    return this.#rows((row) => isOld(row) && !this.#jobs.isLocked(row.gid))
      .slice(0, purge.limit)
      .map((row) => {
        const lease = row.lease + 1;
        this.#jobs.write(row.gid, { ...row, status: 'purging', lease, purgingSince: now });
        return { gid: row.gid, lease, db: row.db, barrierDbs: row.barrierDbs };
      });
  }

  async finishPurge(jobs: readonly Lease[]): Promise<number> {
    const matching = jobs.filter(({ gid, lease }) => {
      const row = this.#jobs.read(gid);
      return row?.status === 'purging' && row.lease === lease;
    });
    for (const { gid } of matching) this.#jobs.write(gid, undefined);
    return matching.length;
  }

  async migrate(): Promise<void> {}
  async start(): Promise<void> {}
  async stop(): Promise<void> {}

  onDue(listener: () => void): () => void {
    this.#database.dueListeners.add(listener);
    return () => void this.#database.dueListeners.delete(listener);
  }

  hintDue(): void {
    // Later, as from another process: a listener never runs inside the caller.
    for (const listener of this.#database.dueListeners) queueMicrotask(listener);
  }

  enlist(native: { readonly kind: string; readonly handle: unknown }): EnlistedStore | undefined {
    const transaction = native.handle;
    if (!(transaction instanceof MemoryTransaction) || transaction.database !== this.#database) return undefined;
    return { create: (job) => this.#create(job, LOCK_TIMEOUT_MS, transaction) };
  }

  #now(): number {
    return this.#database.clock.now();
  }

  #rows(wanted: (row: JobRow) => boolean): JobRow[] {
    return this.#jobs.rows().filter(wanted);
  }

  /** Replaces each row for which `next` gives a new version; answers with their gids. */
  #update<W extends Lease>(writes: readonly W[], next: (row: JobRow, write: W) => JobRow | undefined): Set<string> {
    const matched = new Set<string>();
    for (const write of writes) {
      const row = this.#jobs.read(write.gid);
      const updated = row && next(row, write);
      if (!updated) continue;
      this.#jobs.write(write.gid, updated);
      matched.add(write.gid);
    }
    return matched;
  }
}

/** R4: the answer by the row found. */
function answerTo(job: CreateJob, found: JobRow | undefined): CreateAnswer {
  if (!found) return { outcome: 'stored', lease: job.lease };
  const answer = answerByRow(job, found);
  return answer === 'revive' ? { outcome: 'stored', lease: found.lease + 1 } : answer;
}

function newRow(job: CreateJob, lease: number, now: number): JobRow {
  return {
    gid: job.gid,
    instance: job.instance,
    status: job.status,
    queue: job.queue,
    step: 0,
    attempt: 1,
    lease,
    held: job.held,
    tenant: job.tenant,
    db: job.db && { ...job.db },
    steps: job.steps,
    createdAt: now,
    dueAt: now + job.dueInMs,
    finishedAt: undefined,
    purgingSince: undefined,
    error: undefined,
    barrierDbs: [],
  };
}

function rolledBackRow(gid: string, instance: string, now: number): JobRow {
  const lease = firstLease();
  const job = {
    gid,
    instance,
    status: 'prepared',
    queue: '',
    tenant: undefined,
    db: undefined,
    steps: NO_STEPS,
    lease,
    held: false,
    dueInMs: 0,
  } as const;
  return { ...newRow(job, lease, now), status: 'rolled-back', dueAt: undefined, finishedAt: now };
}

function savedRow(row: JobRow, save: Save, now: number): JobRow {
  const ends = save.status !== 'submitted' && save.status !== 'prepared';
  const givesUp = save.giveUp || ends;
  const dueAt = save.dueInMs === undefined ? row.dueAt : now + save.dueInMs;
  return {
    ...row,
    step: save.step,
    attempt: save.attempt,
    status: save.status,
    queue: save.queue ?? row.queue,
    lease: givesUp ? row.lease + 1 : row.lease,
    held: givesUp ? false : row.held,
    dueAt: ends ? undefined : dueAt,
    finishedAt: ends ? now : undefined,
    error: save.error ?? row.error,
    barrierDbs: union(row.barrierDbs, save.barrierDbs ?? []),
  };
}

function union(stored: readonly DbRef[], more: readonly DbRef[]): readonly DbRef[] {
  const byName = new Map(
    [...stored, ...more].map(({ provider, name, tenant }) => [
      JSON.stringify([provider, name, tenant]),
      { provider, name, ...(tenant === undefined ? {} : { tenant }) },
    ]),
  );
  return [...byName.values()];
}

function changedRow(row: JobRow, change: Change, now: number): JobRow {
  const runs = change.to === 'submitted';
  return {
    ...row,
    status: change.to,
    queue: change.queue ?? row.queue,
    attempt: runs ? 1 : row.attempt,
    lease: row.lease + 1,
    held: runs && change.held,
    dueAt: runs ? now + change.dueInMs : undefined,
    finishedAt: runs ? undefined : now,
    error: change.error ?? row.error,
  };
}

function fits(row: JobRow, filter: StoreFilter): boolean {
  if (row.status === 'purging') return false;
  if (filter.status && !filter.status.includes(row.status)) return false;
  if (filter.step !== undefined && nextStepOf(row) !== filter.step) return false;
  if (filter.tenant !== undefined && row.tenant !== filter.tenant) return false;
  if (filter.createdAfter && row.createdAt < filter.createdAfter.getTime()) return false;
  if (filter.createdBefore && row.createdAt >= filter.createdBefore.getTime()) return false;
  return filter.cursor === undefined || row.gid > filter.cursor;
}

function nextStepOf(row: JobRow): string | undefined {
  const { steps } = JSON.parse(row.steps) as { steps: readonly { n: string }[] };
  return steps[row.step]?.n;
}

function storedJob(row: JobRow): StoredJob {
  const date = (ms: number | undefined) => (ms === undefined ? undefined : new Date(ms));
  const { createdAt, dueAt, finishedAt, purgingSince: _, barrierDbs: _dbs, ...rest } = row;
  return { ...rest, createdAt: new Date(createdAt), dueAt: date(dueAt), finishedAt: date(finishedAt) };
}
