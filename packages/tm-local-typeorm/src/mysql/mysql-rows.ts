import type { ClaimedJob, CreateJob, FoundRow, Lease, Save, StoredJob } from '@stepping/tm-local';
import { statusCode, statusOf } from '../status.js';
import { dbFromText, dbsToText, dbToText, errorFromText, errorToText } from '../stored-text.js';
import type { MysqlRow } from './mysql-lane.js';

/** A batch as the one value of its statement. Half a surrogate pair, which no database can hold, is replaced: the server would refuse it. */
export function batch<T>(entries: readonly T[], row: (entry: T) => readonly (string | number | null)[]): string {
  return JSON.stringify(entries.map((entry) => row(entry).map((value) => (typeof value === 'string' ? value.toWellFormed() : value))));
}

/** A row of `insertJobs`. */
export function createRow(job: CreateJob): readonly (string | number | null)[] {
  return [
    job.gid,
    job.instance,
    statusCode(job.status),
    job.queue,
    job.tenant ?? null,
    dbToText(job.db),
    job.steps,
    job.lease,
    Number(job.held),
    Math.round(job.dueInMs),
  ];
}

/** The values of `insertJobEnlisted`. */
export function insertValues(job: CreateJob): (string | number | Buffer | null)[] {
  const { gid, instance, status, queue, tenant, db, steps, lease, held, dueInMs } = job;
  return [
    gid,
    instance,
    statusCode(status),
    bytes(queue),
    bytes(tenant ?? null),
    bytes(dbToText(db)),
    bytes(steps),
    lease,
    Number(held),
    Math.round(dueInMs),
  ];
}

/** The values of `reviveJob` for a row that was found with this lease. */
export function reviveValues(job: CreateJob, lease: number): (string | number | Buffer | null)[] {
  const [gid, instance, status, queue, tenant, db, steps, , held, dueInMs] = insertValues(job) as [
    string,
    ...(string | number | Buffer | null)[],
  ];
  return [instance, status, queue, tenant, db, steps, held, dueInMs, gid, lease] as (string | number | Buffer | null)[];
}

/** A row of `saveJobs`. */
export function saveRow({ gid, lease, step, attempt, status, giveUp, dueInMs }: Save): readonly (string | number | null)[] {
  return [gid, lease, step, attempt, statusCode(status), Number(giveUp), dueInMs === undefined ? null : Math.round(dueInMs)];
}

/** A row of `saveJobsWithTexts`. */
export function saveRowWithTexts(save: Save): readonly (string | number | null)[] {
  return [...saveRow(save), save.queue ?? null, errorToText(save.error), dbsToText(save.barrierDbs)];
}

export function hasTexts({ queue, error, barrierDbs }: Save): boolean {
  return queue !== undefined || error !== undefined || barrierDbs !== undefined;
}

export function leaseRow({ gid, lease }: Lease): readonly (string | number | null)[] {
  return [gid, lease];
}

/** A row of `findOwners`. */
export function foundRow([, instance, status, lease]: MysqlRow): FoundRow {
  return { instance, status: statusOf(Number(status)), lease: Number(lease) };
}

/** What became of a due row by its claim. */
export function claimedJob([gid, lease, instance, status, queue, step, attempt, held, tenant, db, steps, ageMs]: MysqlRow): ClaimedJob {
  return {
    gid,
    lease: Number(lease) + 1,
    instance,
    status: statusOf(Number(status)) as ClaimedJob['status'],
    queue,
    step: Number(step),
    attempt: Number(attempt),
    wasHeld: Number(held) !== 0,
    tenant: tenant ?? undefined,
    db: dbFromText(db),
    steps,
    ageMs: Number(ageMs),
  };
}

/** A row of `selectJobs`. */
export function storedJob(row: MysqlRow): StoredJob {
  const [gid, instance, status, queue, step, attempt, lease, held, tenant, db, steps, createdAt, dueAt, finishedAt, error] = row;
  return {
    gid,
    instance,
    status: statusOf(Number(status)),
    queue,
    step: Number(step),
    attempt: Number(attempt),
    lease: Number(lease),
    held: Number(held) !== 0,
    tenant: tenant ?? undefined,
    db: dbFromText(db),
    steps,
    createdAt: new Date(Number(createdAt)),
    dueAt: dateOf(dueAt),
    finishedAt: dateOf(finishedAt),
    error: errorFromText(error),
  };
}

function bytes(text: string | null): Buffer | null {
  return text === null ? null : Buffer.from(text);
}

function dateOf(ms: number | string | null): Date | undefined {
  return ms === null ? undefined : new Date(Number(ms));
}
