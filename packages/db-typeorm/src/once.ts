import { type DbProviders, type DbRef, gidFrom, type StepContext, SteppingError, type StepScope, stepScopeOf } from '@stepping/core';
import type { DataSource, EntityManager, QueryRunner } from 'typeorm';
import { type BusinessTransaction, withTransaction } from './business-transaction.js';
import { type FoundDatabase, findDatabase } from './find-database.js';
import { HeldTransaction } from './held-transaction.js';
import { insertKey } from './insert-key.js';
import { insertEffect } from './sql/insert-effect.js';
import { barrierTableOf } from './tables.js';
import { transactionNumber } from './transaction-number.js';
import { startedDatabases, TypeormDbProvider } from './typeorm-db-provider.js';

/** Further words for {@link once}. */
export interface OnceOptions {
  /** Tells a second `once` of the same step (or of the same received key) from the first. Data at rest: it never changes. 1 to 64 of A-Z a-z 0-9 . _ - */
  readonly name?: string | undefined;
  /** For a received key, where there is a database per tenant: whose this one is. A step has its tenant in its context. */
  readonly tenant?: string | undefined;
}

/** Whether the work of {@link once} was done by this call. What it returned the first time is not kept. */
export type OnceResult<R> = { readonly ran: true; readonly value: R } | { readonly ran: false };

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

/** What is to happen once: the key of its barrier, and whose it is. */
interface Effect {
  /** gid, branch_id, op, barrier_id */
  readonly barrier: readonly [gid: string, branchId: string, op: 'once' | 'receive', barrierId: string];
  /** For messages. */
  readonly called: string;
  readonly tenant: string | undefined;
  /** Of a step; a receiver has none. */
  readonly step: { readonly context: object; readonly scope: StepScope } | undefined;
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

function effectOf(key: string | StepContext<any, any>, { name, tenant }: OnceOptions): Effect {
  if (name !== undefined && !NAME.test(name)) {
    throw invalid(`The name ${JSON.stringify(name)} of once() is not 1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit.`);
  }
  if (typeof key === 'string') {
    if (key === '') throw invalid('once() got an empty key. Refuse a request that says no Idempotency-Key.');
    // Hashed, so that any text fits the column, whatever the database says of its length and letters.
    return { barrier: [gidFrom('once', key), '00', 'receive', name ?? '-'], called: JSON.stringify(key), tenant, step: undefined };
  }
  const scope = typeof key === 'object' && key !== null ? stepScopeOf(key) : undefined;
  if (scope === undefined) {
    throw invalid(
      'once() takes the context that a step received, itself and not a copy of it, or a text: what a sender repeats with its request.',
    );
  }
  const { gid, idempotencyKey } = key;
  // The position, three digits; under runStep it may be any text.
  const position = idempotencyKey.startsWith(`${gid}/`) ? idempotencyKey.slice(gid.length + 1) : idempotencyKey;
  // With the instance: a gid that was purged and started anew is not held up by what its former life left behind.
  const { instance } = scope.claim;
  const barrierId = name === undefined ? instance : `${instance}/${name}`;
  return { barrier: [gid, position, 'once', barrierId], called: idempotencyKey, tenant: key.tenant, step: { context: key, scope } };
}

// ── a transaction of our own ────────────────────────────────────────────────────────────────────────────────────────

async function inOwnTransaction<R>(
  found: FoundDatabase,
  effect: Effect,
  work: (manager: EntityManager) => Promise<R>,
): Promise<OnceResult<R>> {
  assertNewHere(effect, found);
  rememberHere(effect, found); // before it begins: a second one beside it must not take the barrier of this one for that of a former attempt
  effect.step?.scope.claim.uses(found.ref);
  try {
    return await withTransaction(found, {}, undefined, async (transaction): Promise<OnceResult<R>> => {
      const runner = transaction.native.handle;
      if (!(await isFirst(runner, effect))) return { ran: false };
      const value = await work(runner.manager);
      await commit(transaction, effect);
      return { ran: true, value };
    });
  } catch (error) {
    forgetHere(effect, found); // the step may try again
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

// A second once() without a name would find the barrier of the first, and its work be skipped without a word.
const done = new WeakMap<object, Set<string>>();

function assertNewHere(effect: Effect, { ref }: FoundDatabase): void {
  if (effect.step && done.get(effect.step.context)?.has(hereAs(effect, ref))) throw secondHere(effect);
}

function secondHere({ called }: Effect): SteppingError<'CONFIG_INVALID'> {
  return invalid(`once() is called a second time in one attempt of ${called}. Give the second one a name: once(…, { name: 'refund' }).`);
}

function rememberHere(effect: Effect, { ref }: FoundDatabase): void {
  if (effect.step) done.set(effect.step.context, (done.get(effect.step.context) ?? new Set()).add(hereAs(effect, ref)));
}

function forgetHere(effect: Effect, { ref }: FoundDatabase): void {
  if (effect.step) done.get(effect.step.context)?.delete(hereAs(effect, ref));
}

function hereAs({ barrier }: Effect, ref: DbRef): string {
  return JSON.stringify([ref.name, ref.tenant, barrier[3]]);
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
  assertNewHere(effect, database.found);
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
async function isFirst(runner: QueryRunner, { barrier, step, called }: Effect): Promise<boolean> {
  if (!(await insertKey(runner, insertEffect(barrierTableOf(runner.dataSource)), barrier))) return false;
  // Only now (R10): somebody frozen before the insert may find no barrier because the job has ended and was purged meanwhile.
  const claim = step?.scope.claim;
  if (!claim?.isOld() || (await claim.isStillOurs())) return true;
  throw new SteppingError(
    'LEASE_LOST',
    `${called} was given up long ago, and somebody else has or had the job: what was to happen once is rolled back. Nothing is lost.`,
    { key: called },
  );
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

function invalid(message: string): SteppingError<'CONFIG_INVALID'> {
  return new SteppingError('CONFIG_INVALID', message);
}
