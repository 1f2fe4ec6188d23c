import type { LedgerRecord } from '@stepping/core';
import type { Connection, mongo } from 'mongoose';
import { collectionIn, makeCollection, type OwnCollection } from './collection.js';

/** What is known of a step of one start of a job that an external transaction manager runs. Its key is `gid/instance/position`. All of it is written by the clock of the server. */
export interface LedgerDocument {
  readonly _id: string;
  readonly generation: number;
  readonly state: LedgerRecord['state'];
  readonly attempts: number;
  /** Of the attempt that wrote it last. */
  readonly token: string;
  /** 1: that attempt has not said how it ended. */
  readonly held: 0 | 1;
  /** When the next attempt may begin; of a held one, when its hold ends; of one that is done or dead, when it ended. */
  readonly due_at: Date;
  readonly interval_ms: number | null;
  /** As JSON. */
  readonly last_error?: string;
}

export type LedgerCollection = mongo.Collection<LedgerDocument>;

const LEDGER: OwnCollection = { name: 'stepping_ledger', version: 1, keeps: 'attempts' };

export function ledgerIn(connection: Connection): LedgerCollection {
  return collectionIn<LedgerDocument>(connection, LEDGER);
}

/** @throws {@link SteppingError} `STORE_REFUSED` */
export function migrateLedger(connection: Connection): Promise<void> {
  // For sweeps, which go by age.
  return makeCollection(connection, LEDGER, { key: { due_at: 1 }, name: 'stepping_ledger_due' });
}

/** How many ms from now a document is due, by the clock of the server; below 0 in the past. */
export const DUE_IN_MS = { $dateDiff: { startDate: '$$NOW', endDate: '$due_at', unit: 'millisecond' } };
export const IS_DUE = { $lte: [DUE_IN_MS, 0] };

export function stepKey(gid: string, instance: string, position: number): string {
  return `${gid}/${instance}/${position}`;
}

/** All steps of one start: '0' is what follows '/'. */
export function startKeys(gid: string, instance: string): { readonly $gte: string; readonly $lt: string } {
  return { $gte: `${gid}/${instance}/`, $lt: `${gid}/${instance}0` };
}

export function positionIn(key: string): number {
  return Number(key.slice(key.lastIndexOf('/') + 1));
}
