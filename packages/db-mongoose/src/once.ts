import { type DbProviders, type StepContext, SteppingError } from '@stepping/core';
import { assertNewHere, assertStillOurs, type Effect, effectOf, type OnceOptions, type OnceResult, rememberHere } from '@stepping/core/db';
import type { ClientSession, Connection } from 'mongoose';
import { type Barrier, effectKey } from './barrier-collection.js';
import { isDuplicateKey } from './driver-error.js';
import { type FoundDatabase, findDatabase } from './find-database.js';
import { HeldTransaction, OwnedTransaction } from './held-transaction.js';
import { withTransaction } from './in-transaction.js';
import { MongooseDbProvider, startedDatabases } from './mongoose-db-provider.js';

/** A session with an open transaction, and the connection that it was started by. */
export interface OpenSession {
  readonly session: ClientSession;
  readonly connection: Connection;
}

/**
 * Does something in a MongoDB database exactly once, however often it is called: `work` and a barrier of its key commit together, and a repeat finds the barrier, runs nothing and
 * answers `{ ran: false }`. Two calls at the same time: one runs, the other is run again by the driver until the first one is decided.
 *
 * The key is the context of a step – this step of this job, whatever its attempt, also after a redrive – or a text that the sender of a request repeats with it (`Idempotency-Key`).
 * Any text will do. Barriers of steps are removed with their job; those of received keys after `barrierRetentionMs` of {@link mongooseDb}, so a repeat that comes later than that runs again.
 *
 * Given a connection it opens a transaction of its own by `connection.transaction()`, which may run `work` several times before it commits, and commits it. Given a session it joins the transaction that
 * is open there, and you commit; MongoDB has no savepoints, so when `work` throws the whole transaction is aborted. The database must be one that {@link mongooseDb} made known to the app.
 *
 * What `work` does elsewhere (mails, requests, other databases, writes without the session) is not in the transaction, and may be repeated.
 *
 * @throws {@link SteppingError} `DB_UNKNOWN`; `DB_MISMATCH` (a session of another client); `LEASE_LOST` (rolled back: this attempt was given up long ago, and somebody else has the job);
 * `COMMIT_OUTCOME_UNKNOWN` (call it again with the same key: it finds out by itself); `TX_NOT_ACTIVE` for a session without a transaction; `STORE_REFUSED` for one that commits without a majority; `CONFIG_INVALID`.
 * What `work` or MongoDB throws passes unwrapped, after rolling back.
 * @example
 * run: (context) => once(connection, context, (session) => Stock.updateOne({ sku: context.args.sku }, { $inc: { available: -1 } }, { session })),
 */
export async function once<R>(
  target: Connection | OpenSession,
  key: string | StepContext<any, any>,
  work: (session: ClientSession) => Promise<R>,
  options: OnceOptions = {},
): Promise<OnceResult<R>> {
  const effect = effectOf(key, options);
  const joined = 'session' in target ? target : undefined;
  const connection = joined ? joined.connection : (target as Connection);
  const database = await databaseOf(effect, connection);
  assertNewHere(effect, database.ref);
  effect.step?.scope.claim.uses(database.ref);
  const result = joined ? await inOpenTransaction(joined.session, database, effect, work) : await inOwnTransaction(database, effect, work);
  if (!result.ran) assertNewHere(effect, database.ref); // the first one ran beside this one, and has just committed
  if (!joined) rememberHere(effect, database.ref);
  return result;
}

// ── a transaction of our own ────────────────────────────────────────────────────────────────────────────────────────

async function inOwnTransaction<R>(
  database: FoundDatabase,
  effect: Effect,
  work: (session: ClientSession) => Promise<R>,
): Promise<OnceResult<R>> {
  const { connection } = database;
  const result = await withTransaction(connection, async (session): Promise<OnceResult<R>> => {
    const transaction = new OwnedTransaction(session, { connection });
    if (!(await isFirst(transaction, effect))) {
      await transaction.rollback(); // the duplicate has ended it: there is nothing to commit
      return { ran: false };
    }
    const value = await work(session);
    await commit(transaction, effect);
    return { ran: true, value };
  });
  if (!result.ran) await assertThere(database, effect);
  return result;
}

async function isFirst(transaction: HeldTransaction, effect: Effect): Promise<boolean> {
  try {
    await insertEffect(transaction, effect);
  } catch (error) {
    if (isDuplicateKey(error)) return false;
    throw error;
  }
  await assertStillOurs(effect);
  return true;
}

async function commit(transaction: OwnedTransaction, { called }: Effect): Promise<void> {
  try {
    await transaction.commit();
  } catch (error) {
    if (SteppingError.is(error) || transaction.commitOutcome(error) === 'not-committed') throw error;
    throw unknownOutcome(called, error);
  }
}

// ── a transaction that the caller holds ─────────────────────────────────────────────────────────────────────────────

async function inOpenTransaction<R>(
  session: ClientSession,
  database: FoundDatabase,
  effect: Effect,
  work: (session: ClientSession) => Promise<R>,
): Promise<OnceResult<R>> {
  const transaction = new HeldTransaction(session, { connection: database.connection });
  if (!transaction.isActive()) {
    throw new SteppingError(
      'TX_NOT_ACTIVE',
      `The session given to once() for ${effect.called} has no open transaction. Begin one, or pass the connection: then once() opens and commits its own.`,
    );
  }
  transaction.bind(database);
  // Looked for first: a duplicate would end the caller's transaction.
  const _id = keyOf(effect);
  if ((await transaction.barriers().findOne({ _id }, { session })) !== null) {
    await assertThere(database, effect);
    return { ran: false };
  }
  try {
    await insertEffect(transaction, effect);
    await assertStillOurs(effect);
    return { ran: true, value: await work(session) };
  } catch (error) {
    await transaction.rollback(); // or the barrier could commit without its effect
    throw error;
  }
}

// ── shared ──────────────────────────────────────────────────────────────────────────────────────────────────────────

async function insertEffect(transaction: HeldTransaction, effect: Effect): Promise<void> {
  const { gid, op } = effect;
  const row: Barrier = { _id: keyOf(effect), op, gid, reason: 'once', created_at: new Date() };
  await transaction.barriers().insertOne(row, { session: transaction.native.handle });
}

/** The barrier that we met may be undone by a fail-over until a majority has it, and its effect with it. */
async function assertThere({ provider, ref }: FoundDatabase, effect: Effect): Promise<void> {
  if (!(await (await provider.barriersOf(ref.tenant)).hasEffect(keyOf(effect)))) throw unknownOutcome(effect.called);
}

function keyOf({ gid, branchId, op, barrierId }: Effect): string {
  return effectKey(gid, branchId, op, barrierId);
}

async function databaseOf({ step, tenant }: Effect, connection: Connection): Promise<FoundDatabase> {
  if (step && step.scope.databases === undefined) return testDatabase(connection);
  const databases: Pick<DbProviders, 'all'> = step?.scope.databases ?? { all: () => [...startedDatabases] };
  return findDatabase(databases, { connection, tenant });
}

/** Under `runStep` there is no app that knows the database. */
async function testDatabase(connection: Connection): Promise<FoundDatabase> {
  const provider = new MongooseDbProvider({ connection });
  await provider.migrate({ tenant: undefined });
  return { provider, ref: provider.refOf(undefined), connection };
}

function unknownOutcome(called: string, cause?: unknown): SteppingError<'COMMIT_OUTCOME_UNKNOWN'> {
  return new SteppingError(
    'COMMIT_OUTCOME_UNKNOWN',
    `Nobody can say yet whether what was to happen once for ${called} has been committed for good. Call it again with the same key, as the next attempt of a step does: it runs if, and only if, it was not.`,
    cause === undefined ? { key: called } : { key: called, cause },
  );
}
