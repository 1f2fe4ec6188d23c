import type { JobStatus } from './jobs.js';
import { SteppingError } from './stepping-error.js';

// What a start or prepare throws by the row found (design §4, R4).

export function inDoubt(gid: string): SteppingError<'JOB_IN_DOUBT'> {
  return new SteppingError(
    'JOB_IN_DOUBT',
    `Job ${gid} was started elsewhere and its outcome is not known yet, or it is just being purged. Nothing was stored; roll back what belongs to it and try again in a few seconds.`,
    { gid },
  );
}

export function duplicate(gid: string, status: JobStatus): SteppingError<'JOB_DUPLICATE'> {
  return new SteppingError(
    'JOB_DUPLICATE',
    `Job ${gid} was started before and is ${status}; its business transaction took effect then. This one must not: roll it back and treat the request as done.`,
    { gid, status },
  );
}

export function commitUnknown(gid: string, cause?: unknown): SteppingError<'COMMIT_OUTCOME_UNKNOWN'> {
  return new SteppingError(
    'COMMIT_OUTCOME_UNKNOWN',
    `Nobody can say yet whether the transaction of job ${gid} committed: its database could not be asked, or the transaction is still open. Its steps run if it did. Ask again by job.submit() or job.resolve(), or later by jobs.find(${JSON.stringify(gid)}); do not repeat the work under another gid.`,
    cause === undefined ? { gid } : { gid, cause },
  );
}
