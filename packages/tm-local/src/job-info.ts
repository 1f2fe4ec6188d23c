import type { JobInfo } from '@stepping/core';
import { type DecodedStep, decodeSteps } from './stored-steps.js';
import type { StoredJob, StoredStatus } from './transaction-store.js';

/** A stored row as operators see it. */
export function jobInfo(stored: StoredJob): Omit<JobInfo, 'status'> {
  const { gid, tenant, createdAt, dueAt, step, attempt, error, status } = stored;
  const { steps, unreadable } = read(stored);
  return {
    gid,
    ...(tenant === undefined ? {} : { tenant }),
    createdAt,
    dueAt,
    step,
    attempt,
    lastError: error ?? unreadable,
    steps: steps.map(({ name, args }, index) => ({ name, status: stepStatus(index, step, status), args })),
  };
}

/** One job that this release cannot read must not hide all the others. */
function read({ gid, steps }: StoredJob): { readonly steps: readonly DecodedStep[]; readonly unreadable: JobInfo['lastError'] } {
  try {
    return { steps: decodeSteps(steps), unreadable: undefined };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { steps: [], unreadable: { name: 'Error', message: `The steps of job ${gid} cannot be read here: ${why}` } };
  }
}

function stepStatus(index: number, next: number, job: StoredStatus): JobInfo['steps'][number]['status'] {
  if (index < next) return 'succeeded';
  return index === next && job === 'failed' ? 'failed' : 'waiting';
}
