import type { BoundedClaim } from '@stepping/core/db';
import type { mongo } from 'mongoose';
import { IS_DUE } from './ledger-collection.js';

/**
 * Counts and begins an attempt, if it may (see `LedgerTable.begin` of core); else it leaves the document as it is. As the update of an upsert by the key: there is no document yet where there is no
 * state.
 */
export function beginAttempt({ generation, token, leaseMs, maxAttempts }: BoundedClaim): mongo.Document[] {
  const own = { $literal: token };
  const isSame = { $eq: ['$token', own] };
  const isFormer = { $lt: ['$generation', generation] };
  const mayFollow = { $and: [{ $eq: ['$state', 'open'] }, IS_DUE, { $not: [isSame] }, { $lt: ['$attempts', maxAttempts] }] };
  const isNew = { $eq: [{ $type: '$state' }, 'missing'] };
  const mayBegin = {
    $or: [
      { $and: [{ $eq: ['$generation', generation] }, { $or: [{ $and: [{ $eq: ['$held', 1] }, isSame] }, mayFollow] }] },
      { $and: [isFormer, { $or: [{ $eq: ['$held', 0] }, IS_DUE] }] },
    ],
  };
  const attempts = { $cond: [{ $or: [isNew, isFormer] }, 1, { $cond: [isSame, '$attempts', { $add: ['$attempts', 1] }] }] };
  const begun = {
    generation: { $literal: generation },
    state: 'open',
    attempts,
    token: own,
    held: { $literal: 1 },
    due_at: { $add: ['$$NOW', leaseMs] },
    interval_ms: { $cond: [isFormer, null, { $ifNull: ['$interval_ms', null] }] },
  };
  return [
    {
      $replaceWith: {
        $cond: [{ $or: [isNew, { $and: [{ $ne: ['$state', 'done'] }, mayBegin] }] }, { $mergeObjects: ['$$ROOT', begun] }, '$$ROOT'],
      },
    },
  ];
}
