import type { DbRef, JobStatus } from '@stepping/core';
import type { Lease, PurgingJob, StoredJob, StoreFilter, TransactionStore } from '@stepping/tm-local';
import type { mongo } from 'mongoose';
import { dbFromText, type JobCollection, type JobDocument, storedJob } from './job-document.js';
import { FROM_MAJORITY } from './own-client.js';
import { writeToken } from './write-token.js';

/** A purge that left its jobs for this long has died; another one takes them over. Unit: ms. */
const ABANDONED_MS = 600_000;
/** Jobs that a list by step reads at a time. */
const PAGE = 200;
/**
 * Looks that no index serves may read all jobs, and the server says nothing meanwhile: its silence is no lost connection, as it is for everything else. (Read by the driver for each
 * operation, though not in its types.) Unit: ms.
 */
const PATIENT = { socketTimeoutMS: 300_000 };

type Stats = Awaited<ReturnType<TransactionStore['stats']>>;

/** A page of jobs in the order of gids. */
export async function listJobs(jobs: JobCollection, filter: StoreFilter): Promise<readonly StoredJob[]> {
  const found: StoredJob[] = [];
  const cursor = jobs.find(filterOf(filter), {
    sort: { _id: 1 },
    batchSize: Math.min(PAGE, filter.limit + 1),
    ...PATIENT,
    ...FROM_MAJORITY,
  });
  for await (const job of cursor) {
    if (filter.step !== undefined && nextStepOf(job) !== filter.step) continue;
    if (found.push(storedJob(job)) >= filter.limit) break;
  }
  return found;
}

function filterOf({ status, step, tenant, createdAfter, createdBefore, cursor }: StoreFilter): mongo.Filter<JobDocument> {
  return {
    status: status === undefined ? { $ne: 'purging' } : { $in: [...status] },
    ...(cursor === undefined ? {} : { _id: { $gt: cursor } }),
    ...(tenant === undefined ? {} : { tenant }),
    ...(createdAfter === undefined && createdBefore === undefined
      ? {}
      : { created_at: { ...(createdAfter && { $gte: createdAfter }), ...(createdBefore && { $lt: createdBefore }) } }),
    // Few jobs have the step at all; which one is next, the client sees.
    ...(step === undefined ? {} : { steps: { $regex: literally(`"n":${JSON.stringify(step)}`) } }),
  };
}

function literally(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}

function nextStepOf({ steps, step }: JobDocument): string | undefined {
  return (JSON.parse(steps) as { steps: readonly { n: string }[] }).steps[step]?.n;
}

/** Counts by status, with the two ages. One look at all jobs. */
export async function statsOf(jobs: JobCollection): Promise<Stats> {
  interface Group {
    readonly _id: JobStatus;
    readonly count: number;
    readonly due: Date | null;
    readonly created: Date;
    readonly now: Date;
  }
  const groups = await jobs
    .aggregate<Group>(
      [
        { $match: { status: { $ne: 'purging' } } },
        { $group: { _id: '$status', count: { $sum: 1 }, due: { $min: '$due_at' }, created: { $min: '$created_at' } } },
        { $project: { count: 1, due: 1, created: 1, now: '$$NOW' } },
      ],
      { ...PATIENT, ...FROM_MAJORITY },
    )
    .toArray();
  const of = (status: JobStatus) => groups.find(({ _id }) => _id === status);
  const count = (status: JobStatus) => of(status)?.count ?? 0;
  const since = (from: Date | null | undefined, now: Date | undefined) => (from && now ? Math.max(0, now.getTime() - from.getTime()) : 0);
  return {
    prepared: count('prepared'),
    submitted: count('submitted'),
    succeeded: count('succeeded'),
    'rolled-back': count('rolled-back'),
    failed: count('failed'),
    cancelled: count('cancelled'),
    oldestDueMs: since(of('submitted')?.due, of('submitted')?.now),
    oldestPreparedMs: since(of('prepared')?.created, of('prepared')?.now),
  };
}

/**
 * First write of a purge (R5). No index serves it: one on `finished_at` would cost every job more than a look now and then. Never a TTL index: it would take a job before its barriers.
 * `now` is the server's time.
 */
export async function startPurge(
  jobs: JobCollection,
  { finishedMsAgo, failedMsAgo, limit }: { finishedMsAgo: number; failedMsAgo: number; limit: number },
  now: Date,
): Promise<readonly PurgingJob[]> {
  const before = (msAgo: number) => ({ finished_at: { $lte: new Date(now.getTime() - msAgo) } });
  const old: mongo.Filter<JobDocument> = {
    $or: [
      { status: { $in: ['succeeded', 'rolled-back', 'cancelled'] }, ...before(finishedMsAgo) },
      { status: 'failed', ...before(failedMsAgo) },
      { status: 'purging', ...before(ABANDONED_MS) },
    ],
  };
  const projection = { status: 1, lease: 1, db: 1, barrier_dbs: 1 };
  const found = await jobs.find(old, { projection, limit, batchSize: limit + 1, ...PATIENT }).toArray();
  if (found.length === 0) return [];
  const token = writeToken();
  const updates = found.map(({ _id, lease, status }) => ({
    updateOne: {
      filter: { _id, lease, status }, // whatever happens to a job moves its lease
      update: { $set: { status: 'purging' as const, lease: lease + 1, purged_by: token }, $currentDate: { finished_at: true as const } },
    },
  }));
  const { matchedCount } = await jobs.bulkWrite(updates, { ordered: false });
  const mine = matchedCount === found.length ? undefined : await gidsOf(jobs, token, found);
  return found
    .filter(({ _id }) => mine?.has(_id) ?? true)
    .map(({ _id, lease, db, barrier_dbs = [] }) => ({
      gid: _id,
      lease: lease + 1,
      db: dbFromText(db),
      barrierDbs: barrier_dbs.map((text) => JSON.parse(text) as DbRef),
    }));
}

async function gidsOf(jobs: JobCollection, token: string, among: readonly JobDocument[]): Promise<ReadonlySet<string>> {
  const gids = among.map(({ _id }) => _id);
  const options = { projection: { _id: 1 }, batchSize: gids.length + 1, ...FROM_MAJORITY };
  const rows = await jobs.find({ _id: { $in: gids }, purged_by: token }, options).toArray();
  return new Set(rows.map(({ _id }) => _id));
}

/** Third write of a purge. */
export async function finishPurge(jobs: JobCollection, leases: readonly Lease[]): Promise<number> {
  if (leases.length === 0) return 0;
  const deletes = leases.map(({ gid, lease }) => ({ deleteOne: { filter: { _id: gid, lease, status: 'purging' as const } } }));
  return (await jobs.bulkWrite(deletes, { ordered: false })).deletedCount;
}
