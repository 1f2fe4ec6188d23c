import type { InDoubtAnswer } from '@stepping/core';
import { answerOf, type Barriers as BarriersContract, Places, within } from '@stepping/core/db';
import type { Connection, mongo } from 'mongoose';
import { type Barrier, type BarrierCollection, barriersIn, keysOf, messageKey } from './barrier-collection.js';
import { codeOf, isDuplicateKey } from './driver-error.js';

/** How long an in-doubt question waits for a transaction that is open. Unit: ms. */
const LOCK_TIMEOUT_MS = 1_500;
/** By then the server has answered that the time is over, or it does not answer at all. Unit: ms. */
const GIVE_UP_MS = LOCK_TIMEOUT_MS + 1_000;
/** For everything that waits for no lock. Unit: ms. */
const READ_TIMEOUT_MS = 5_000;
const PURGE_TIMEOUT_MS = 60_000;
/** They hold connections of the user's pool while they wait for transactions, which need connections to end. */
const QUESTIONS_AT_A_TIME = 2;
const HALF_AN_HOUR_MS = 30 * 60_000;

/** The barriers of one database, asked outside of any transaction. */
export class Barriers implements BarriersContract {
  readonly #connection: Connection;
  readonly #questions = new Places(QUESTIONS_AT_A_TIME);

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** See `DbProvider.resolveInDoubt`; rejects where that is `unknown`. */
  resolveInDoubt(gid: string, instance: string): Promise<InDoubtAnswer> {
    return this.#questions.run(async () => {
      await this.#claimForRollback(messageKey(gid, instance));
      // Only now, and whoever wrote it (R1). No row is no answer: what refused our insert is not yet with a majority.
      return answerOf(await this.#reasonOf(gid, instance));
    });
  }

  async hasCommitted(gid: string, instance: string): Promise<boolean> {
    return (await this.#reasonOf(gid, instance)) === 'msg';
  }

  /** Whether an effect of this key is there for good. */
  async hasEffect(key: string): Promise<boolean> {
    return (await this.#find(key)) !== undefined;
  }

  async purge(gids: readonly string[]): Promise<void> {
    const created_at = { $lt: before(HALF_AN_HOUR_MS) };
    const deletes = gids.map((gid) => ({ deleteMany: { filter: { _id: keysOf(gid), created_at } } }));
    await within(PURGE_TIMEOUT_MS, 'A purge', () => this.#collection.bulkWrite(deletes, { ordered: false }));
  }

  /** All at once. */
  async deleteReceived(olderThanMs: number): Promise<number> {
    const old = { op: 'receive', created_at: { $lt: before(olderThanMs) } } as const;
    const { deletedCount } = await within(PURGE_TIMEOUT_MS, 'A sweep', () => this.#collection.deleteMany(old));
    return deletedCount;
  }

  async effectsOf(olderThanMs: number, after: string, limit: number): Promise<string[]> {
    const old = { op: 'once', created_at: { $lt: before(olderThanMs) }, gid: { $gt: after } } as const;
    const found = await within(PURGE_TIMEOUT_MS, 'A sweep', () =>
      this.#collection
        .aggregate<{ _id: string }>([{ $match: old }, { $group: { _id: '$gid' } }, { $sort: { _id: 1 } }, { $limit: limit }])
        .toArray(),
    );
    return found.map(({ _id }) => _id);
  }

  async deleteEffects(olderThanMs: number, gids: readonly string[]): Promise<void> {
    const old = { op: 'once', created_at: { $lt: before(olderThanMs) }, gid: { $in: [...gids] } } as const;
    await within(PURGE_TIMEOUT_MS, 'A sweep', () => this.#collection.deleteMany(old));
  }

  /**
   * An insert, never an upsert (which would not keep to its time), and outside of any transaction: there it waits for the transaction in doubt, inside one it would be refused at once. What lands
   * after we gave up waiting is what we asked for.
   */
  async #claimForRollback(key: string): Promise<void> {
    const barrier: Barrier = { _id: key, reason: 'rollback', created_at: new Date() };
    try {
      await within(GIVE_UP_MS, 'The barrier of a question', (signal) => {
        const options: mongo.InsertOneOptions & { signal: AbortSignal } = { maxTimeMS: LOCK_TIMEOUT_MS, signal };
        return this.#collection.insertOne(barrier, options);
      });
    } catch (error) {
      if (!isDuplicateKey(error)) throw error; // a stepdown, a network error, no majority, out of time: ask later
    }
  }

  async #reasonOf(gid: string, instance: string): Promise<string | undefined> {
    return (await this.#find(messageKey(gid, instance)))?.reason;
  }

  async #find(key: string): Promise<Barrier | undefined> {
    const found = await within(READ_TIMEOUT_MS, 'The look for a barrier', (signal) =>
      this.#collection.findOne({ _id: key }, { maxTimeMS: READ_TIMEOUT_MS, signal }),
    );
    return found ?? undefined;
  }

  get #collection(): BarrierCollection {
    return barriersIn(this.#connection);
  }
}

/** The server is there: it refused, or a transaction made us wait. */
export function isAnswer(error: unknown): boolean {
  return codeOf(error) !== undefined;
}

function before(ms: number): Date {
  return new Date(Date.now() - ms);
}
