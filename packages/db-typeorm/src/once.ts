import { type DbProviders, type StepContext, SteppingError } from '@stepping/core';
import {
  assertNewHere,
  assertStillOurs,
  type Effect,
  effectOf,
  forgetHere,
  hereAs,
  type OnceOptions,
  type OnceResult,
  rememberHere,
  secondHere,
} from '@stepping/core/db';
import type { DataSource, EntityManager, QueryRunner } from 'typeorm';
import { type BusinessTransaction, withTransaction } from './business-transaction.js';
import { type FoundDatabase, findDatabase } from './find-database.js';
import { HeldTransaction } from './held-transaction.js';
import { insertKey } from './insert-key.js';
import { insertEffect } from './sql/insert-effect.js';
import { barrierTableOf } from './tables.js';
import { transactionNumber } from './transaction-number.js';
import { startedDatabases, TypeormDbProvider } from './typeorm-db-provider.js';

/**
 * Does something in a database exactly once, however often it is called: `work` and a barrier of its key commit together, and a repeat finds the barrier, runs nothing and
 * answers `{ ran: false }`. Two calls at the same time: one runs, the other waits for its commit.
 *
 * The key is the context of a step – this step of this job, whatever its attempt, also after a redrive – or a text that the sender of a request repeats with it (`Idempotency-Key`).
 * Any text will do: it is stored as {@link gidFrom} makes it. Barriers of steps are removed with their job; those of received keys after `barrierRetentionMs` of {@link typeormDb}, so a
 * repeat that comes later than that runs again.
 *
 * Given a DataSource it opens a transaction of its own and commits it. Given a QueryRunner it joins the transaction that is open there, and you commit; what a `work` that throws has
 * written is undone then, up to before this call. The database must be one that {@link typeormDb} made known to the app.
 *
 * What `work` does elsewhere (mails, requests, other databases) is not in the transaction, and may be repeated.
 *
 * @throws {@link SteppingError} `DB_UNKNOWN`; `LEASE_LOST` (rolled back: this attempt was given up long ago, and somebody else has the job); `COMMIT_OUTCOME_UNKNOWN` (call it again with the
 * same key: it finds out by itself); `TX_NESTED` inside a transaction on the same SQLite file, or in a savepoint; `TX_NOT_ACTIVE` for a QueryRunner without a transaction; `CONFIG_INVALID`.
 * What `work` or the database throws passes unwrapped, after rolling back.
 * @example
 * run: (context) => once(dataSource, context, (manager) => manager.decrement(Stock, { sku: context.args.sku }, 'available', 1)),
 */
export async function once<R>(
  target: DataSource | QueryRunner,
  key: string | StepContext<any, any>,
  work: (manager: EntityManager) => Promise<R>,
  options: OnceOptions = {},
): Promise<OnceResult<R>> {
  const effect = effectOf(key, options);
  if (!('createQueryRunner' in target)) return joining(target, effect, work);
  const database = await databaseOf(effect, target);
  try {
    return await inOwnTransaction(database.found, effect, work);
  } finally {
    await database.release();
  }
}

// ── a transaction of our own ────────────────────────────────────────────────────────────────────────────────────────

async function inOwnTransaction<R>(
  found: FoundDatabase,
  effect: Effect,
  work: (manager: EntityManager) => Promise<R>,
): Promise<OnceResult<R>> {
  assertNewHere(effect, found.ref);
  rememberHere(effect, found.ref); // before it begins: a second one beside it must not take the barrier of this one for that of a former attempt
  effect.step?.scope.claim.uses(found.ref);
  try {
    return await withTransaction(found, async (transaction): Promise<OnceResult<R>> => {
      await transaction.begin();
      const runner = transaction.native.handle;
      if (!(await isFirst(runner, effect))) return { ran: false };
      const value = await work(runner.manager);
      await commit(transaction, effect);
      return { ran: true, value };
    });
  } catch (error) {
    forgetHere(effect, found.ref); // the step may try again
    throw error;
  }
}

async function commit(transaction: BusinessTransaction, { called }: Effect): Promise<void> {
  try {
    await transaction.commit();
  } catch (error) {
    if (transaction.commitOutcome(error) === 'not-committed') throw error;
    throw new SteppingError(
      'COMMIT_OUTCOME_UNKNOWN',
      `Nobody can say yet whether what was to happen once for ${called} has been committed: the connection was lost at the commit. Call it again with the same key, as the next attempt of a step does: it runs if, and only if, it was not.`,
      { key: called, cause: error },
    );
  }
}

// ── a transaction that the caller holds ─────────────────────────────────────────────────────────────────────────────

let savepoints = 0;

// What was joined to the transaction that is open on a runner now.
const joinedTo = new WeakMap<QueryRunner, { readonly number: number; readonly effects: Set<string> }>();

function joined(runner: QueryRunner): Set<string> {
  const number = transactionNumber(runner);
  let known = joinedTo.get(runner);
  if (known?.number !== number) {
    known = { number, effects: new Set() };
    joinedTo.set(runner, known);
  }
  return known.effects;
}

async function joining<R>(runner: QueryRunner, effect: Effect, work: (manager: EntityManager) => Promise<R>): Promise<OnceResult<R>> {
  const transaction = new HeldTransaction(runner, {});
  if (!transaction.isActive()) {
    throw new SteppingError(
      'TX_NOT_ACTIVE',
      `The QueryRunner given to once() for ${effect.called} has no open transaction. Begin one, or pass the DataSource: then once() opens and commits its own.`,
    );
  }
  transaction.assertNotNested();
  const database = await databaseOf(effect, runner.dataSource);
  assertNewHere(effect, database.found.ref);
  // In this very transaction a second one would find the barrier of the first; in the next one, after a rollback, it is the same one again.
  const here = hereAs(effect, database.found.ref);
  if (joined(runner).has(here)) throw secondHere(effect);
  effect.step?.scope.claim.uses(database.found.ref);
  // TypeORM knows nothing of this savepoint, so for whoever else looks the transaction is as it was.
  const savepoint = `stepping_once_${++savepoints}`;
  await runner.query(`savepoint ${savepoint}`);
  try {
    const first = await isFirst(runner, effect);
    const result: OnceResult<R> = first ? { ran: true, value: await work(runner.manager) } : { ran: false };
    await runner.query(`release savepoint ${savepoint}`);
    if (effect.step) joined(runner).add(here);
    return result;
  } catch (error) {
    // Where it cannot be undone, the transaction itself is over: nothing of it will commit.
    await runner.query(`rollback to savepoint ${savepoint}`).catch(() => {});
    throw error;
  } finally {
    await database.release();
  }
}

// ── shared ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Inserts the barrier, waiting for a rival that is not decided yet. Whoever has it first may do the work, if the job is still its own. */
async function isFirst(runner: QueryRunner, effect: Effect): Promise<boolean> {
  const { gid, branchId, op, barrierId } = effect;
  if (!(await insertKey(runner, insertEffect(barrierTableOf(runner.dataSource)), [gid, branchId, op, barrierId]))) return false;
  await assertStillOurs(effect);
  return true;
}

interface RegisteredDatabase {
  readonly found: FoundDatabase;
  release(): Promise<void>;
}

async function databaseOf({ step, tenant }: Effect, dataSource: DataSource): Promise<RegisteredDatabase> {
  if (step && step.scope.databases === undefined) return testDatabase(dataSource);
  const databases: Pick<DbProviders, 'all'> = step?.scope.databases ?? { all: () => [...startedDatabases] };
  return { found: await findDatabase(databases, dataSource, { tenant }), release: async () => {} };
}

/** Under `runStep` there is no app that knows the database. */
async function testDatabase(dataSource: DataSource): Promise<RegisteredDatabase> {
  const provider = new TypeormDbProvider({ dataSource });
  await provider.migrate({ tenant: undefined });
  return { found: { provider, ref: provider.refOf(undefined), dataSource }, release: () => provider.close() };
}
