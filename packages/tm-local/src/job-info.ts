import type { JobInfo } from '@stepping/core';
import { decodeSteps } from './stored-steps.js';
import type { StoredJob, StoredStatus } from './transaction-store.js';

/** A stored row as operators see it. */
export function jobInfo(stored: StoredJob): Omit<JobInfo, 'status'> {
  const { gid, tenant, createdAt, dueAt, step, attempt, error, status } = stored;
  return {
    gid,
    ...(tenant === undefined ? {} : { tenant }),
    createdAt,
    dueAt,
    step,
    attempt,
    lastError: error,
    steps: decodeSteps(stored.steps).map(({ name, args }, index) => ({ name, status: stepStatus(index, step, status), args })),
  };
}

function stepStatus(index: number, next: number, job: StoredStatus): JobInfo['steps'][number]['status'] {
  if (index < next) return 'succeeded';
  return index === next && job === 'failed' ? 'failed' : 'waiting';
}
