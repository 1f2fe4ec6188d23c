import type { InDoubtAnswer } from '@stepping/core';
import type { CreateAnswer, CreateJob } from '@stepping/tm-local';
import type { JobDocument } from './job-document.js';

/** What a create, or the question of R9, found under its gid. */
export type FoundJob = Pick<JobDocument, '_id' | 'instance' | 'status' | 'lease' | 'created_by'>;

/** For a projection. */
export const FOUND_JOB = { instance: 1, status: 1, lease: 1, created_by: 1 } as const;

/** The table of R4 (design §4) for a gid that was there already. A rolled-back one was revived by the very write that found it, unless it became so just now. */
export function answerByJob({ instance }: Pick<CreateJob, 'instance'>, { status, lease, ...found }: FoundJob): CreateAnswer {
  if (status === 'purging' || status === 'rolled-back') return { outcome: 'in-doubt' };
  if (found.instance === instance) return { outcome: 'repeated', status, lease };
  if (status === 'prepared') return { outcome: 'in-doubt' };
  return { outcome: 'duplicate', status };
}

/** What a job says of the commit of `instance` (R9). One that is not mine proves that mine never got there. */
export function verdictByJob(instance: string, found: FoundJob): InDoubtAnswer {
  if (found.instance !== instance || found.status === 'rolled-back') return 'rolled-back';
  return found.status === 'prepared' || found.status === 'purging' ? 'unknown' : 'committed';
}
