import type { LedgerError, LedgerKey, LedgerRecord } from '@stepping/core';
import { type BoundedClaim, type HeldKey, type LedgerEntry, type LedgerRow, type LedgerTable, within } from '@stepping/core/db';
import type { Connection, mongo } from 'mongoose';
import { beginAttempt } from './begin-attempt.js';
import { isDuplicateKey } from './driver-error.js';
import {
  DUE_IN_MS,
  IS_DUE,
  type LedgerCollection,
  type LedgerDocument,
  ledgerIn,
  positionIn,
  startKeys,
  stepKey,
} from './ledger-collection.js';

/** Nobody holds these documents but writes of one document. Unit: ms. */
const TIMEOUT_MS = 4_000;
const SWEEP_TIMEOUT_MS = 60_000;

/** The ledger of one database. */
export class Ledger implements LedgerTable {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  async begin(claim: BoundedClaim): Promise<LedgerRow | undefined> {
    try {
      return await this.#upsert(claim);
    } catch (error) {
      if (isDuplicateKey(error)) return this.#upsert(claim); // somebody made it between the server's look and its insert
      throw error;
    }
  }

  async find({ gid, instance, position }: LedgerKey): Promise<LedgerRow | undefined> {
    const byKey = [{ $match: { _id: stepKey(gid, instance, position) } }, { $set: { due_in_ms: DUE_IN_MS } }];
    const [found] = await this.#run((ledger, options) =>
      ledger.aggregate<LedgerDocument & { due_in_ms: number }>(byKey, options).toArray(),
    );
    return found && rowOf(found, Number(found.due_in_ms));
  }

  extend(key: HeldKey, leaseMs: number): Promise<boolean> {
    return this.#update(held(key), { due_at: { $add: ['$$NOW', leaseMs] } });
  }

  end(key: HeldKey, { state, uncounted, dueInMs, intervalMs, error }: LedgerEntry): Promise<boolean> {
    return this.#update(held(key), {
      state,
      attempts: { $subtract: ['$attempts', uncounted] },
      held: { $literal: 0 },
      due_at: { $add: ['$$NOW', dueInMs] },
      ...(uncounted === 1 ? {} : { interval_ms: { $literal: intervalMs ?? null } }),
      ...errorField(error),
    });
  }

  bury(key: HeldKey, seen: LedgerRow, error: LedgerError | undefined): Promise<boolean> {
    const { generation, attempts, token } = seen;
    const asSeen = { state: 'open' as const, generation, attempts, token, held: seen.held ? 1 : 0, $expr: IS_DUE } as const;
    const dead = { state: 'dead', held: { $literal: 0 }, due_at: '$$NOW', token: { $literal: key.token }, ...errorField(error) };
    return this.#update({ _id: stepKey(key.gid, key.instance, key.position), ...asSeen }, dead);
  }

  async read(gid: string, instance: string): Promise<readonly LedgerRecord[]> {
    const found = await this.#run((ledger, options) => ledger.find({ _id: startKeys(gid, instance) }, options).toArray());
    return found.map(recordOf).sort((a, b) => a.position - b.position);
  }

  /** All at once. */
  async deleteOld(olderThanMs: number): Promise<number> {
    return within(SWEEP_TIMEOUT_MS, 'A sweep', async () => {
      // The time of the server, as a literal: so the index serves, and the version of the collection, which has no such field, does not match.
      const { localTime } = await this.#connection.getClient().db(this.#connection.name).command({ hello: 1 });
      const before = new Date(localTime.getTime() - olderThanMs);
      return (await ledgerIn(this.#connection).deleteMany({ due_at: { $lt: before } })).deletedCount;
    });
  }

  async #upsert(claim: BoundedClaim): Promise<LedgerRow | undefined> {
    const _id = stepKey(claim.gid, claim.instance, claim.position);
    const found = await this.#run((ledger, options) =>
      ledger.findOneAndUpdate({ _id }, beginAttempt(claim), { ...options, upsert: true, returnDocument: 'after' }),
    );
    if (found === null) return undefined;
    // Only of one that waits is the time asked, by a second trip.
    const isBegun = found.held === 1 && found.token === claim.token && found.generation === claim.generation;
    return isBegun || found.state !== 'open' ? rowOf(found, 0) : this.find(claim);
  }

  async #update(filter: mongo.Filter<LedgerDocument>, fields: mongo.Document): Promise<boolean> {
    const { matchedCount } = await this.#run((ledger, options) => ledger.updateOne(filter, [{ $set: fields }], options));
    return matchedCount === 1;
  }

  #run<R>(work: (ledger: LedgerCollection, options: { maxTimeMS: number; signal: AbortSignal }) => Promise<R>): Promise<R> {
    return within(TIMEOUT_MS, 'The ledger', (signal) => work(ledgerIn(this.#connection), { maxTimeMS: TIMEOUT_MS, signal }));
  }
}

function held({ gid, instance, position, token }: HeldKey): mongo.Filter<LedgerDocument> {
  return { _id: stepKey(gid, instance, position), token, held: 1 };
}

/** As JSON: no database stumbles over what is in it. */
function errorField(error: LedgerError | undefined): mongo.Document {
  return error === undefined ? {} : { last_error: { $literal: JSON.stringify({ name: error.name, message: error.message }) } };
}

function rowOf({ generation, state, attempts, token, held, interval_ms }: LedgerDocument, dueInMs: number): LedgerRow {
  return { generation, state, attempts, token, held: held === 1, dueInMs, intervalMs: interval_ms ?? undefined };
}

function recordOf({ _id, generation, state, attempts, held, last_error, due_at }: LedgerDocument): LedgerRecord {
  const lastError = last_error === undefined ? undefined : (JSON.parse(last_error) as LedgerError);
  return {
    position: positionIn(_id),
    generation,
    state,
    attempts,
    held: held === 1,
    lastError,
    dueAt: state === 'open' ? due_at : undefined,
  };
}
