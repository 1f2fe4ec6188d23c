import type { Save } from '@stepping/tm-local';
import type { mongo } from 'mongoose';
import { dbToText, errorToText, type JobDocument, reachedBy } from './job-document.js';
import { pushToken, withToken } from './write-token.js';

type Update = { updateOne: mongo.UpdateOneModel<JobDocument> };

/** One fenced write of a lease holder (R6, R7), which leaves `token` where its fence matched. Modifiers, and a pipeline only where the time of the server is added to. */
export function saveStatement(save: Save, token: string): Update {
  const filter: mongo.Filter<JobDocument> = { _id: save.gid, lease: save.lease, ...notFurtherThan(save) };
  const ends = save.status !== 'submitted' && save.status !== 'prepared';
  if (ends || save.dueInMs === undefined) return { updateOne: { filter, update: modifiers(save, token, ends) } };
  return { updateOne: { filter, update: pipeline(save, token, save.dueInMs) } };
}

function notFurtherThan({ step, attempt, giveUp }: Save): mongo.Filter<JobDocument> {
  return giveUp ? { step: { $lte: step } } : { reached: { $lte: reachedBy(step, attempt) } };
}

function modifiers(save: Save, token: string, ends: boolean): mongo.UpdateFilter<JobDocument> {
  const dbs = textsOf(save);
  return {
    $set: fieldsOf(save, ends),
    $push: { saved: pushToken(token) },
    ...(dbs.length === 0 ? {} : { $addToSet: { barrier_dbs: { $each: dbs } } }),
    ...(ends ? { $unset: { due_at: '' }, $currentDate: { finished_at: true } } : {}),
  };
}

function pipeline(save: Save, token: string, dueInMs: number): mongo.Document[] {
  const dbs = textsOf(save);
  const literals = Object.entries(fieldsOf(save, false)).map(([field, value]) => [field, { $literal: value }]);
  return [
    {
      $set: {
        ...Object.fromEntries(literals),
        due_at: { $add: ['$$NOW', Math.round(dueInMs)] },
        saved: withToken('saved', { $literal: token }),
        ...(dbs.length === 0 ? {} : { barrier_dbs: { $setUnion: [{ $ifNull: ['$barrier_dbs', []] }, { $literal: dbs }] } }),
      },
    },
  ];
}

function fieldsOf({ step, attempt, status, lease, giveUp, queue, error }: Save, ends: boolean): Partial<JobDocument> {
  return {
    step,
    attempt,
    reached: reachedBy(step, attempt),
    status,
    ...(giveUp || ends ? { lease: lease + 1, held: 0 } : {}),
    ...(queue === undefined ? {} : { queue }),
    ...(error === undefined ? {} : { last_error: errorToText(error) }),
  };
}

function textsOf({ barrierDbs = [] }: Save): string[] {
  return Array.from(new Set(barrierDbs.map(dbToText)));
}
