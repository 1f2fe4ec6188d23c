import { answerByRow, type CreateAnswer, type CreateJob } from '@stepping/tm-local';
import type { JobDocument } from './job-document.js';

/** What a create, or the question of R9, found under its gid. */
export type FoundJob = Pick<JobDocument, '_id' | 'instance' | 'status' | 'lease' | 'created_by'>;

/** For a projection. */
export const FOUND_JOB = { instance: 1, status: 1, lease: 1, created_by: 1 } as const;

/** For a gid that was there already. A rolled-back one was revived by the very write that found it, unless it became so just now. */
export function answerByJob(job: Pick<CreateJob, 'instance'>, found: FoundJob): CreateAnswer {
  const answer = answerByRow(job, found);
  return answer === 'revive' ? { outcome: 'in-doubt' } : answer;
}
