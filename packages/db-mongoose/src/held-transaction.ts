import { setTimeout as sleep } from 'node:timers/promises';
import { DbProviders, type DbRef, type DbTransaction, type Resolver, SteppingError } from '@stepping/core';
import type { ClientSession } from 'mongoose';
import { type Barrier, type BarrierCollection, barriersIn, messageKey } from './barrier-collection.js';
import { isDuplicateKey, isOutOfTime, isRefusedCommit, isRefusedStatement, isUnknownCommit } from './driver-error.js';
import { type DatabaseTarget, type FoundDatabase, findDatabase, ofTenant } from './find-database.js';
import { isOf, type SessionTransaction, transactionOf } from './session-state.js';

/** How long a commit of unknown outcome is repeated: as long as `withTransaction` of the driver does it. Unit: ms. */
const COMMIT_TIMEOUT_MS = 120_000;
const FIRST_PAUSE_MS = 5;
const MAX_PAUSE_MS = 500;

/** A transaction that somebody else commits: `inTransaction`. */
export class HeldTransaction implements DbTransaction {
  readonly native: { readonly kind: 'mongoose'; readonly handle: ClientSession };
  protected readonly session: ClientSession;
  readonly #target: DatabaseTarget;
  #barriers: BarrierCollection | undefined;
  // The driver makes an object for each transaction of a session, also when `withTransaction` runs its callback again; undefined until one is open.
  #transaction: SessionTransaction | undefined;

  constructor(session: ClientSession, target: DatabaseTarget) {
    this.native = { kind: 'mongoose', handle: session };
    this.session = session;
    this.#target = target;
    const { connection } = target;
    if (connection !== undefined && isOf(session, connection)) this.#barriers = barriersIn(connection);
    this.isActive(); // from now on it is the transaction that is open now
  }

  async ref(resolver: Resolver): Promise<DbRef> {
    return this.bind(await findDatabase(resolver.resolve(DbProviders), this.#target));
  }

  /** @throws {@link SteppingError} `DB_MISMATCH`, `STORE_REFUSED` */
  bind({ connection, ref }: FoundDatabase): DbRef {
    if (!isOf(this.session, connection)) throw otherClient(ref.name, this.#target.tenant);
    assertMajority(this.session);
    this.#barriers = barriersIn(connection);
    return ref;
  }

  isActive(): boolean {
    const { session } = this;
    if (session.hasEnded || !session.inTransaction()) return false;
    this.#transaction ??= transactionOf(session);
    return this.#transaction === transactionOf(session);
  }

  async insertBarrier(gid: string, instance: string): Promise<boolean> {
    const barrier: Barrier = { _id: messageKey(gid, instance), reason: 'msg', created_at: new Date() };
    try {
      await this.barriers().insertOne(barrier, { session: this.session });
      return true;
    } catch (error) {
      if (isDuplicateKey(error)) return false;
      throw error;
    }
  }

  async deleteBarrier(gid: string, instance: string): Promise<void> {
    await this.barriers().deleteOne({ _id: messageKey(gid, instance) }, { session: this.session });
  }

  /** Also of a statement that core or a store ran in this transaction. */
  commitOutcome(error: unknown): 'not-committed' | 'unknown' {
    return isRefusedStatement(error) ? 'not-committed' : 'unknown';
  }

  /**
   * The driver passes over errors of an abort, so it resolves without the server's word. What matters is certain all the same: a transaction that is still active was never sent a commit, and from
   * now on its session refuses to send one.
   */
  async rollback(): Promise<void> {
    if (this.isActive()) await this.session.abortTransaction();
  }

  /** A transaction has no connection of its own; its session is what it needs. */
  async close(): Promise<void> {
    const mine = this.#transaction !== undefined && this.#transaction === transactionOf(this.session);
    if (mine) await this.session.endSession();
  }

  /** The collection, and the certainty that what comes next is in the transaction: with a session whose transaction has ended the driver would write at once. */
  barriers(): BarrierCollection {
    if (!this.isActive()) throw notActive();
    if (this.#barriers === undefined) throw otherClient(this.#target.db ?? 'default', this.#target.tenant);
    return this.#barriers;
  }
}

/** A transaction on a session that we may commit. */
export class OwnedTransaction extends HeldTransaction {
  // An error of a commit means something else than the same error of a statement.
  readonly #outcomes = new WeakMap<object, 'not-committed' | 'unknown'>();

  /** Sent again while nobody knows, as the driver's `withTransaction` does: the server knows a commit by its number, and answers for the one that it has done. */
  async commit(): Promise<void> {
    if (!this.isActive()) throw notActive();
    const deadline = performance.now() + COMMIT_TIMEOUT_MS;
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, MAX_PAUSE_MS)) {
      try {
        await this.session.commitTransaction();
        return;
      } catch (error) {
        const again = isUnknownCommit(error) && !isOutOfTime(error) && performance.now() < deadline && !this.session.hasEnded;
        if (!again) throw this.#remember(error);
      }
      await sleep(pauseMs);
    }
  }

  override commitOutcome(error: unknown): 'not-committed' | 'unknown' {
    return (isObject(error) ? this.#outcomes.get(error) : undefined) ?? super.commitOutcome(error);
  }

  #remember(error: unknown): unknown {
    if (isObject(error)) this.#outcomes.set(error, isRefusedCommit(error) ? 'not-committed' : 'unknown');
    return error;
  }
}

/** Committed by fewer than a majority, it could be rolled back by a fail-over after its job was submitted. */
function assertMajority(session: ClientSession): void {
  const { options } = transactionOf(session);
  const concern = options.writeConcern;
  // Nothing said: the server's default, which is weaker where the set has an arbiter, or an administrator said so. Nobody asked for that.
  if (concern === undefined) Object.assign(options, { writeConcern: { w: 'majority' } });
  else if (concern.w !== 'majority' || concern.journal === false || concern.j === false) {
    throw new SteppingError(
      'STORE_REFUSED',
      `This transaction would commit with the write concern ${JSON.stringify({ w: concern.w, j: concern.journal ?? concern.j })}, and could be undone by a fail-over after its job has run. Begin it with session.startTransaction({ writeConcern: { w: 'majority' } }), or take w and j out of the URL.`,
    );
  }
}

function notActive(): SteppingError<'TX_NOT_ACTIVE'> {
  return new SteppingError(
    'TX_NOT_ACTIVE',
    'The transaction of this session has ended already, or was begun after the job was made for an earlier one. Leave commit and abort to who began it, and make each job inside of its transaction.',
  );
}

function otherClient(name: string, tenant: string | undefined): SteppingError<'DB_MISMATCH'> {
  return new SteppingError(
    'DB_MISMATCH',
    `The session is of another client than the connection of the database '${name}'${ofTenant(tenant)}, so nothing that is written there is in its transaction. Start the session by startSession() of that connection.`,
    { name, tenant },
  );
}

function isObject(error: unknown): error is object {
  return typeof error === 'object' && error !== null;
}
