import type { JobStatus } from '@stepping/core';
import type { StoredStatus } from '@stepping/tm-local';

/** How a status is written in the `status` column: data at rest, so the order never changes. Everything from 2 on is finished. */
const STATUSES = [
  'prepared',
  'submitted',
  'succeeded',
  'rolled-back',
  'failed',
  'cancelled',
  'purging',
] as const satisfies readonly StoredStatus[];

export const PREPARED = 0;
export const SUBMITTED = 1;
export const ROLLED_BACK = 3;
export const FAILED = 4;
export const PURGING = 6;

export function statusCode(status: StoredStatus): number {
  return STATUSES.indexOf(status);
}

export function statusOf(code: number): StoredStatus {
  const status = STATUSES[code];
  if (status === undefined) throw new Error(`A stored job has the status ${code}, which this version does not know`);
  return status;
}

/** Bit n is set for the status with the code n: how a compare-and-set names the statuses that it takes. */
export function statusMask(statuses: readonly StoredStatus[]): number {
  return statuses.reduce((mask, status) => mask | (1 << statusCode(status)), 0);
}

/** Counts by code as {@link JobStatus} counts; `purging` is left out. */
export function countsByStatus(counts: ReadonlyMap<number, number>): Record<JobStatus, number> {
  const count = (status: JobStatus) => counts.get(statusCode(status)) ?? 0;
  return {
    prepared: count('prepared'),
    submitted: count('submitted'),
    succeeded: count('succeeded'),
    'rolled-back': count('rolled-back'),
    failed: count('failed'),
    cancelled: count('cancelled'),
  };
}

/** Mask of the statuses whose rows have a `due_at`. */
export const UNFINISHED = (1 << PREPARED) | (1 << SUBMITTED);
