import assert from 'node:assert/strict';
import type { JobStatus } from '@stepping/core';
import type { ClaimedJob, CreateAnswer, CreateJob, Lease, Save, StoredStatus, TransactionStore } from '../../transaction-store.js';
import type { Bench } from './bench.js';

export const HOUR_MS = 3_600_000;
export const DAY_MS = 24 * HOUR_MS;

const run = Math.random().toString(36).slice(2, 8);
let count = 0;

/** A name that no other test uses. */
export function unique(prefix: string): string {
  return `${prefix}-${run}-${String(++count).padStart(6, '0')}`;
}

/** A submitted job of three steps, due now. */
export function aJob(over: Partial<CreateJob> = {}): CreateJob {
  return {
    gid: unique('job'),
    instance: unique('instance'),
    status: 'submitted',
    queue: 'default',
    tenant: undefined,
    db: undefined,
    steps: '{"v":1,"steps":[{"n":"first","a":{"order":1}},{"n":"second"},{"n":"third"}]}',
    lease: 1 + Math.floor(Math.random() * 1_000_000),
    held: false,
    dueInMs: 0,
    ...over,
  };
}

/** A prepared job of the business database `memory/orders`. */
export function aPreparedJob(over: Partial<CreateJob> = {}): CreateJob {
  return aJob({ status: 'prepared', queue: '~db/memory/orders', db: { provider: 'memory', name: 'orders' }, dueInMs: 10_000, ...over });
}

/** Creates one job, by itself; `locked` is answered as it is. */
export async function createOne(store: TransactionStore, job: CreateJob): Promise<CreateAnswer> {
  const answers = await store.create([job]);
  assert.equal(answers.length, 1);
  return answers[0] as CreateAnswer;
}

/** Creates one job that must be stored. */
export async function stored<J extends CreateJob>(store: TransactionStore, job: J): Promise<J> {
  assert.equal((await createOne(store, job)).outcome, 'stored');
  return job;
}

/** Creates one job, again and again while it is locked, as the local TM does. */
export async function createdAtLast(store: TransactionStore, job: CreateJob): Promise<CreateAnswer> {
  for (;;) {
    const answer = await createOne(store, job);
    if (answer.outcome !== 'locked') return answer;
  }
}

/** Brings a new job into this status. */
export async function aJobThatIs(bench: Bench, status: StoredStatus, over: Partial<CreateJob> = {}): Promise<CreateJob> {
  const { store } = bench;
  if (status === 'prepared') return stored(store, aPreparedJob(over));
  if (status === 'rolled-back') {
    const job = await stored(store, aPreparedJob(over));
    await changed(bench, job, 'prepared', 'rolled-back');
    return job;
  }
  const job = await stored(store, aJob(over));
  if (status === 'succeeded') await saved(bench, finish(job));
  if (status === 'failed') await saved(bench, fail(job));
  if (status === 'cancelled') await changed(bench, job, 'submitted', 'cancelled');
  if (status === 'purging') {
    await saved(bench, finish(job));
    await bench.age(job.gid, DAY_MS);
    const purging = await store.startPurge({ finishedMsAgo: HOUR_MS, failedMsAgo: HOUR_MS, limit: 1_000 });
    assert.ok(purging.some(({ gid }) => gid === job.gid));
  }
  return job;
}

async function changed(bench: Bench, { gid, instance }: CreateJob, from: JobStatus, to: 'rolled-back' | 'cancelled'): Promise<void> {
  const [answer] = await bench.store.change([
    { gid, instance, from: [from], to, queue: undefined, dueInMs: 0, held: false, error: undefined },
  ]);
  assert.ok(answer?.changed);
}

async function saved(bench: Bench, save: Save): Promise<void> {
  assert.deepEqual(await bench.store.save([save]), new Set([save.gid]));
}

/** As many jobs as one call of the store may have. */
export function aFullBatch(store: TransactionStore, job: () => CreateJob = aJob): CreateJob[] {
  return Array.from({ length: store.maxBatch ?? 1_000 }, job);
}

/** Claims from a queue, by default for a minute and all that is due. */
export function claim(
  store: TransactionStore,
  { queue = 'default', limit = 1_000, leaseMs = 60_000 }: { queue?: string; limit?: number; leaseMs?: number } = {},
): Promise<readonly ClaimedJob[]> {
  return store.claimDue({ queue, limit, leaseMs });
}

/** Claims this due job, which must be the only one of its queue. */
export async function claimed(store: TransactionStore, job: { gid: string; queue: string }, leaseMs = 60_000): Promise<ClaimedJob> {
  const jobs = await claim(store, { queue: job.queue, leaseMs });
  assert.deepEqual(gidsOf(jobs), [job.gid]);
  return jobs[0] as ClaimedJob;
}

/** Claims from a queue for an hour until nothing is left: one claim may pass over older rows as long as it gives younger ones. */
export async function claimedUntilEmpty(store: TransactionStore, queue = 'default'): Promise<readonly ClaimedJob[]> {
  const all: ClaimedJob[] = [];
  for (;;) {
    const jobs = await claim(store, { queue, limit: 100, leaseMs: HOUR_MS });
    if (jobs.length === 0) return all;
    all.push(...jobs);
    assert.ok(all.length < 10_000, 'Claims give the same jobs again and again.');
  }
}

/** Sorted, since a claim answers in no order. */
export function gidsOf(jobs: readonly { readonly gid: string }[]): string[] {
  return jobs.map(({ gid }) => gid).sort();
}

const nothingElse = { giveUp: false, dueInMs: undefined, queue: undefined, error: undefined } as const;
const boom = { name: 'Error', message: 'boom' };

// The writes of a lease holder.

export function checkpoint(lease: Lease, step = 1): Save {
  return { ...nothingElse, ...keyOf(lease), status: 'submitted', step, attempt: 1 };
}

export function countAttempt(lease: Lease, attempt = 2, step = 0): Save {
  return { ...nothingElse, ...keyOf(lease), status: 'submitted', step, attempt };
}

export function retry(lease: Lease, attempt = 2, step = 0): Save {
  return { ...keyOf(lease), status: 'submitted', step, attempt, giveUp: true, dueInMs: 60_000, queue: undefined, error: boom };
}

export function handBack(lease: Lease, attempt = 1, step = 0): Save {
  return { ...nothingElse, ...keyOf(lease), status: 'submitted', step, attempt, giveUp: true, dueInMs: 0 };
}

export function moveToQueue(lease: Lease, queue: string): Save {
  return { ...nothingElse, ...keyOf(lease), status: 'submitted', step: 1, attempt: 1, giveUp: true, dueInMs: 0, queue };
}

export function finish(lease: Lease): Save {
  return { ...nothingElse, ...keyOf(lease), status: 'succeeded', step: 3, attempt: 1, giveUp: true };
}

export function fail(lease: Lease, step = 0): Save {
  return { ...nothingElse, ...keyOf(lease), status: 'failed', step, attempt: 1, giveUp: true, error: boom };
}

/** The query-back's answer. */
export function verdict(lease: Lease, status: 'submitted' | 'rolled-back', giveUp: boolean): Save {
  const goesOn = status === 'submitted';
  return {
    ...keyOf(lease),
    status,
    step: 0,
    attempt: 1,
    giveUp,
    dueInMs: goesOn && giveUp ? 0 : undefined,
    queue: goesOn ? 'default' : undefined,
    error: undefined,
  };
}

/** The query-back got no answer. */
export function askLater(lease: Lease): Save {
  return { ...nothingElse, ...keyOf(lease), status: 'prepared', step: 0, attempt: 1, giveUp: true, dueInMs: 20_000 };
}

export function keyOf({ gid, lease }: Lease): Lease {
  return { gid, lease };
}
