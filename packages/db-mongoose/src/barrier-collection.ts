import type { Connection, mongo } from 'mongoose';
import { collectionIn, makeCollection, type OwnCollection } from './collection.js';

/**
 * A barrier. Its key is `gid/branch_id/op/barrier_id`, the order of DTM's own barrier table: unique by the one index that a collection always has, so there is none that could be missing, and all
 * barriers of a gid stand together.
 */
export interface Barrier {
  readonly _id: string;
  /** `msg` by the business transaction, `rollback` by whoever asked what became of it; `once` of an effect. */
  readonly reason: 'msg' | 'rollback' | 'once';
  /** By the clock of who inserted it; read only to tell half an hour from an hour. */
  readonly created_at: Date;
  /** Of an effect (`once`): whether it is a step's or a receiver's. Left out of messages, which keeps them out of the index. */
  readonly op?: 'once' | 'receive';
  /** Of an effect. */
  readonly gid?: string;
}

export type BarrierCollection = mongo.Collection<Barrier>;

const BARRIERS: OwnCollection = { name: 'stepping_barrier', version: 1, keeps: 'barriers' };

export function barriersIn(connection: Connection): BarrierCollection {
  return collectionIn<Barrier>(connection, BARRIERS);
}

export function messageKey(gid: string, instance: string): string {
  return `${gid}/00/msg/${instance}`;
}

export function effectKey(gid: string, position: string, op: 'once' | 'receive', barrierId: string): string {
  return `${gid}/${position}/${op}/${barrierId}`;
}

/** All barriers of a gid: '0' is what follows '/', and no gid has either in it. */
export function keysOf(gid: string): { readonly $gte: string; readonly $lt: string } {
  return { $gte: `${gid}/`, $lt: `${gid}0` };
}

/** @throws {@link SteppingError} `STORE_REFUSED` */
export function migrateBarriers(connection: Connection): Promise<void> {
  // For sweeps, which go by age. Barriers of messages are many, and nobody looks for them by age.
  return makeCollection(connection, BARRIERS, {
    key: { op: 1, created_at: 1 },
    name: 'stepping_barrier_effect',
    partialFilterExpression: { op: { $exists: true } },
  });
}
