import type { ClaimedJob, CreateJob, StoredJob } from '@stepping/tm-local';
import { statusCode, statusOf } from '../status.js';
import { dbFromText, dbToText, errorFromText } from '../stored-text.js';

/** A row as `selectDue` gives it. */
export interface DueRow {
  readonly id: number;
  readonly gid: string;
  readonly instance: string;
  readonly status: number;
  readonly queue: string;
  readonly step: number;
  readonly attempt: number;
  readonly lease: number;
  readonly held: number;
  readonly tenant: string | null;
  readonly db: string | null;
  readonly steps: string;
  readonly age_ms: number;
}

/** A row as `selectJobs` gives it; times in ms since 1970. */
export interface JobRow extends Omit<DueRow, 'id' | 'age_ms'> {
  readonly created_at: number;
  readonly due_at: number | null;
  readonly finished_at: number | null;
  readonly last_error: string | null;
}

/** The values of `insertJob`. */
export function insertValues(job: CreateJob): unknown[] {
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

/** The values of `reviveJob` for a row that was found with this lease. */
export function reviveValues(job: CreateJob, lease: number): unknown[] {
  return [
    job.instance,
    statusCode(job.status),
    job.queue,
    job.tenant ?? null,
    dbToText(job.db),
    job.steps,
    Number(job.held),
    Math.round(job.dueInMs),
    job.gid,
    lease,
  ];
}

/** What became of a due row by its claim. */
export function claimedJob(row: DueRow): ClaimedJob {
  return {
    gid: row.gid,
    lease: row.lease + 1,
    instance: row.instance,
    status: statusOf(row.status) as ClaimedJob['status'],
    queue: row.queue,
    step: row.step,
    attempt: row.attempt,
    wasHeld: row.held !== 0,
    tenant: row.tenant ?? undefined,
    db: dbFromText(row.db),
    steps: row.steps,
    ageMs: row.age_ms,
  };
}

export function storedJob(row: JobRow): StoredJob {
  return {
    gid: row.gid,
    instance: row.instance,
    status: statusOf(row.status),
    queue: row.queue,
    step: row.step,
    attempt: row.attempt,
    lease: row.lease,
    held: row.held !== 0,
    tenant: row.tenant ?? undefined,
    db: dbFromText(row.db),
    steps: row.steps,
    createdAt: new Date(row.created_at),
    dueAt: row.due_at === null ? undefined : new Date(row.due_at),
    finishedAt: row.finished_at === null ? undefined : new Date(row.finished_at),
    error: errorFromText(row.last_error),
  };
}
