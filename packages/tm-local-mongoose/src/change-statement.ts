import type { Change } from '@stepping/tm-local';
import type { mongo } from 'mongoose';
import { errorToText, type JobDocument, STEP_STRIDE } from './job-document.js';
import { withToken } from './write-token.js';

/** Compare-and-set on status and instance, which leaves `token` and the lease that it gave where it matched. */
export function changeStatement(change: Change, token: string): { updateOne: mongo.UpdateOneModel<JobDocument> } {
  const { gid, instance, from, to, queue, error } = change;
  const filter: mongo.Filter<JobDocument> = { _id: gid, status: { $in: [...from] }, ...(instance === undefined ? {} : { instance }) };
  const runs = to === 'submitted';
  const lease = { $add: ['$lease', 1] };
  const fields = {
    status: { $literal: to },
    lease,
    changed: withToken('changed', { by: { $literal: token }, lease }),
    ...(runs
      ? {
          attempt: 1,
          reached: { $add: [{ $multiply: ['$step', STEP_STRIDE] }, 1] },
          held: change.held ? 1 : 0,
          due_at: { $add: ['$$NOW', Math.round(change.dueInMs)] },
        }
      : { held: 0, finished_at: '$$NOW' }),
    ...(queue === undefined ? {} : { queue: { $literal: queue } }),
    ...(error === undefined ? {} : { last_error: { $literal: errorToText(error) } }),
  };
  return { updateOne: { filter, update: [{ $set: fields }, { $unset: runs ? 'finished_at' : 'due_at' }] } };
}
