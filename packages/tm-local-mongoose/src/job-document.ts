import type { DbRef } from '@stepping/core';
import type { ClaimedJob, StoredError, StoredJob, StoredStatus } from '@stepping/tm-local';
import type { mongo } from 'mongoose';

/**
 * A job as it is stored. Text that comes from outside is JSON or a plain string: nothing in it can be taken for an operator. Each kind of write leaves a token of its own, and
 * reads back by it which documents it has written, where counts do not tell.
 */
export interface JobDocument {
  /** gid. The only unique key. */
  readonly _id: string;
  readonly instance: string;
  readonly status: StoredStatus;
  readonly queue: string;
  readonly step: number;
  readonly attempt: number;
  /** Step and attempt as one number ({@link reachedBy}): what a late write is compared with. */
  readonly reached: number;
  /** A double, exact up to 2^53. */
  readonly lease: number;
  readonly held: 0 | 1;
  readonly tenant?: string;
  /** JSON of a {@link DbRef}. */
  readonly db?: string;
  readonly steps: string;
  readonly created_at: Date;
  /** Missing where the job is finished, which keeps it out of the index: that stays as small as what is unfinished. */
  readonly due_at?: Date;
  /** Of a purging job: when its purge began. */
  readonly finished_at?: Date;
  /** JSON of a {@link StoredError}. */
  readonly last_error?: string;
  /** JSON of a {@link DbRef} each. */
  readonly barrier_dbs?: readonly string[];
  readonly created_by?: string;
  /** With what the claim found and gave: the job may have been changed since. */
  readonly claimed?: { readonly by: string; readonly lease: number; readonly status: StoredStatus; readonly wasHeld: boolean };
  /** The latest ones. */
  readonly saved?: readonly string[];
  /** The latest ones, with the lease that each gave: the job may have been claimed or changed again since. */
  readonly changed?: readonly { readonly by: string; readonly lease: number }[];
  readonly purged_by?: string;
}

/** That a claim has found by its token. */
export type ClaimedDocument = JobDocument & Required<Pick<JobDocument, 'claimed'>>;

export type JobCollection = mongo.Collection<JobDocument>;

/** The index that claims and polls name as their hint: without it they are an error, never a scan. Over unfinished jobs only. */
export const DUE_INDEX = 'stepping_job_due';

/** Longest name or message of an error that is kept. Unit: UTF-16 units. A document has 16 MiB, of which a job takes up to 4. */
const MAX_ERROR_LENGTH = 100_000;

/** An attempt has a number below it. */
export const STEP_STRIDE = 2 ** 24;

/** Later steps are larger, and of one step later attempts: one plain comparison in place of an `$or`, which not every planner serves by the key. */
export function reachedBy(step: number, attempt: number): number {
  return step * STEP_STRIDE + Math.min(attempt, STEP_STRIDE - 1);
}

export function dbToText({ provider, name, tenant }: DbRef): string {
  return JSON.stringify({ provider, name, ...(tenant === undefined ? {} : { tenant }) });
}

export function dbFromText(text: string | undefined): DbRef | undefined {
  return text === undefined ? undefined : (JSON.parse(text) as DbRef);
}

export function errorToText({ name, message }: StoredError): string {
  return JSON.stringify({ name: name.slice(0, MAX_ERROR_LENGTH), message: message.slice(0, MAX_ERROR_LENGTH) });
}

export function storedJob(job: JobDocument): StoredJob {
  return {
    gid: job._id,
    instance: job.instance,
    status: job.status,
    queue: job.queue,
    step: job.step,
    attempt: job.attempt,
    lease: job.lease,
    held: job.held !== 0,
    tenant: job.tenant,
    db: dbFromText(job.db),
    steps: job.steps,
    createdAt: job.created_at,
    dueAt: job.due_at,
    finishedAt: job.finished_at,
    error: job.last_error === undefined ? undefined : (JSON.parse(job.last_error) as StoredError),
  };
}

/** As it was when it was claimed out of `queue`. */
export function claimedJob(job: ClaimedDocument, queue: string, now: Date): ClaimedJob {
  const { lease, status, wasHeld } = job.claimed;
  return {
    gid: job._id,
    instance: job.instance,
    status: status as ClaimedJob['status'],
    queue,
    step: job.step,
    attempt: job.attempt,
    lease,
    wasHeld,
    tenant: job.tenant,
    db: dbFromText(job.db),
    steps: job.steps,
    ageMs: now.getTime() - job.created_at.getTime(),
  };
}
