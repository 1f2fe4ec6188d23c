import type { ClaimedJob, CreateJob, FoundRow, StoredJob } from '@stepping/tm-local';
import { statusCode, statusOf } from '../status.js';
import { dbFromText, dbToText, errorFromText } from '../stored-text.js';
import { int2Array, int8Array, textArray } from './binary-array.js';
import type { PostgresRow } from './postgres-lane.js';

/** The values of `insertJobs`; of `reviveJobs` with the leases found. */
export function createValues(jobs: readonly CreateJob[], leaseOf: (job: CreateJob) => number = (job) => job.lease): unknown[] {
  return [
    textArray(jobs.map(({ gid }) => gid)),
    textArray(jobs.map(({ instance }) => instance)),
    int2Array(jobs.map(({ status }) => statusCode(status))),
    textArray(jobs.map(({ queue }) => queue)),
    textArray(jobs.map(({ tenant }) => tenant ?? null)),
    textArray(jobs.map(({ db }) => dbToText(db))),
    textArray(jobs.map(({ steps }) => steps)),
    int8Array(jobs.map(leaseOf)),
    int2Array(jobs.map(({ held }) => Number(held))),
    int8Array(jobs.map(({ dueInMs }) => Math.round(dueInMs))),
  ];
}

/** The values of the same statements for one job in the transaction of a user. */
export function enlistedValues(job: CreateJob, lease = job.lease): unknown[] {
  return [
    job.gid,
    job.instance,
    statusCode(job.status),
    job.queue,
    job.tenant ?? null,
    dbToText(job.db),
    job.steps,
    lease,
    Number(job.held),
    Math.round(job.dueInMs),
  ];
}

/** A row of `findOwners`. */
export function foundRow([, instance, status, lease]: PostgresRow): FoundRow {
  return { instance: instance as string, status: statusOf(Number(status)), lease: Number(lease) };
}

/** A row of `claimJobs`. */
export function claimedJob(row: PostgresRow): ClaimedJob {
  // By index: of all that is read here these are the most, and destructuring goes through an iterator.
  return {
    gid: row[0] as string,
    lease: Number(row[1]),
    instance: row[2] as string,
    status: statusOf(Number(row[3])) as ClaimedJob['status'],
    queue: row[4] as string,
    step: Number(row[5]),
    attempt: Number(row[6]),
    wasHeld: row[7] === '2',
    tenant: row[8] ?? undefined,
    db: dbFromText(row[9] ?? null),
    steps: row[10] as string,
    ageMs: Math.round(Number(row[11])),
  };
}

/** A row of `selectJobs`. */
export function storedJob(row: PostgresRow): StoredJob {
  const [gid, instance, status, queue, step, attempt, lease, held, tenant, db, steps, createdAt, dueAt, finishedAt, error] =
    row as string[];
  return {
    gid: gid as string,
    instance: instance as string,
    status: statusOf(Number(status)),
    queue: queue as string,
    step: Number(step),
    attempt: Number(attempt),
    lease: Number(lease),
    held: held !== '0',
    tenant: tenant ?? undefined,
    db: dbFromText(db ?? null),
    steps: steps as string,
    createdAt: new Date(Number(createdAt)),
    dueAt: dateOf(dueAt),
    finishedAt: dateOf(finishedAt),
    error: errorFromText(error ?? null),
  };
}

function dateOf(ms: string | null | undefined): Date | undefined {
  return ms === null || ms === undefined ? undefined : new Date(Number(ms));
}
