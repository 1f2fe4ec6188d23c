import { type CreateJob, firstLease, NO_STEPS } from '@stepping/tm-local';
import type { mongo } from 'mongoose';
import { dbToText, type JobDocument, reachedBy } from './job-document.js';

type Upsert = { updateOne: mongo.UpdateOneModel<JobDocument> };

/**
 * Inserts a job, or revives the rolled-back one of its gid, or leaves alone what is there, in one statement: inside a transaction an insert of a key that is taken would end the transaction. Of a
 * transaction only: outside of one, an upsert may wait for the transactions of others for as long as they last (SERVER-103347).
 */
export function createStatement(job: CreateJob, by: string): Upsert {
  const fields = { ...fieldsOf(job), created_by: by };
  const dates = { created_at: '$$NOW', due_at: { $add: ['$$NOW', Math.round(job.dueInMs)] } };
  const lease = { $cond: [{ $eq: ['$status', 'rolled-back'] }, { $add: ['$lease', 1] }, job.lease] };
  const created = { $mergeObjects: [{ $literal: fields }, { lease, ...dates }] };
  const isFree = { $in: [{ $ifNull: ['$status', 'none'] }, ['none', 'rolled-back']] };
  return upsert(job.gid, [{ $replaceWith: { $cond: [isFree, created, '$$ROOT'] } }]);
}

/** A job as it is inserted. `now` is the server's time of a moment ago: an insert cannot ask for it, and a job that is due or held from a moment earlier on is as good. */
export function newDocument(job: CreateJob, now: Date): JobDocument {
  return { ...fieldsOf(job), lease: job.lease, created_at: now, due_at: new Date(now.getTime() + Math.round(job.dueInMs)) };
}

function fieldsOf(job: CreateJob): Omit<JobDocument, 'lease' | 'created_at'> {
  return {
    _id: job.gid,
    instance: job.instance,
    status: job.status,
    queue: job.queue,
    step: 0,
    attempt: 1,
    reached: reachedBy(0, 1),
    held: job.held ? 1 : 0,
    ...(job.tenant === undefined ? {} : { tenant: job.tenant }),
    ...(job.db === undefined ? {} : { db: dbToText(job.db) }),
    steps: job.steps,
  };
}

/**
 * R9's question in one statement: inserts a job that says "rolled back", or *writes* to the one that is there, which conflicts with a transaction that revives it (A5).
 */
export function askStatement(gid: string, instance: string, token: string): Upsert {
  const fields: Omit<JobDocument, 'created_at'> = {
    _id: gid,
    instance,
    status: 'rolled-back',
    queue: '',
    step: 0,
    attempt: 1,
    reached: reachedBy(0, 1),
    lease: firstLease(),
    held: 0,
    steps: NO_STEPS,
  };
  const inserted = { $mergeObjects: [{ $literal: fields }, { created_at: '$$NOW', finished_at: '$$NOW' }] };
  const touched = { $mergeObjects: ['$$ROOT', { asked_by: { $literal: token } }] };
  const isFree = { $eq: [{ $ifNull: ['$status', 'none'] }, 'none'] };
  return upsert(gid, [{ $replaceWith: { $cond: [isFree, inserted, touched] } }]);
}

function upsert(gid: string, update: mongo.Document[]): Upsert {
  return { updateOne: { filter: { _id: gid }, update, upsert: true } };
}
