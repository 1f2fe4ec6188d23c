import { type BarrierKey, SteppingError, type Turns } from '@stepping/core';
import { closeConnection, dialectOf, fileTurns, type SqliteConnection, sqliteConnectionOf, untilNotBusy } from '@stepping/typeorm';
import type { DataSource, QueryRunner } from 'typeorm';
import { BeginWithFirst } from './begin-with-first.js';
import { type DriverState, driverStateOf, stateIsKnown } from './driver-state.js';
import type { FoundDatabase } from './find-database.js';
import { OwnedTransaction } from './held-transaction.js';
import type { IsolationLevel } from './in-transaction.js';
import { explained } from './missing-table.js';
import { BEGIN, type Send, sentBy } from './sent-by.js';
import { insertDrawnBarrier } from './sql/insert-barrier.js';
import { BARRIER, barrierTableOf } from './tables.js';
import { type TransactionEnds, transactionEnds } from './transaction-ends.js';
import { reserveCommit } from './typeorm-transaction.js';

/** Others may hold the lock of the file for a long transaction of theirs, or many of them in a row. Unit: ms. */
const SQLITE_LOCK_TIMEOUT_MS = 30_000;

/** A transaction that `inTransaction` opened: on a runner of its own, given back by `release`. */
export abstract class BusinessTransaction extends OwnedTransaction {
  declare readonly runner: QueryRunner;
  /** `barrier`: of the job that may come of it, undefined where that needs none. */
  abstract begin(isolationLevel?: IsolationLevel, barrier?: () => BarrierKey | undefined): Promise<void>;
  /** Why the server refused to begin, where it was asked with the first statement: whatever the body made of that. */
  failedToBegin(): unknown {
    return undefined;
  }
  /** Whatever became of it: nothing of it stays open. Never rejects. */
  abstract release(): Promise<void>;
}

/** Hands `work` a transaction on a registered database, to begin and to commit, and sees to it that it is over when `work` is. */
export async function withTransaction<R>(database: FoundDatabase, work: (transaction: BusinessTransaction) => Promise<R>): Promise<R> {
  const { provider, dataSource } = database;
  const use = async (transaction: BusinessTransaction) => {
    try {
      return await work(transaction);
    } catch (error) {
      throw transaction.failedToBegin() ?? error;
    } finally {
      await transaction.release();
    }
  };
  if (dialectOf(dataSource) !== 'sqlite') return use(await pooledTransaction(database));
  const clone = await provider.transactionsOf(dataSource);
  return withTurn(fileTurns(dataSource), async (leaveTurn) => use(sqliteTransaction(clone, database, leaveTurn)));
}

// ── on a server ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** The body may have ended our transaction and begun another. */
const IN_TRANSACTION: readonly DriverState[] = ['open', 'failed'];

class PooledTransaction extends BusinessTransaction {
  // Only a connection of which the server said that the transaction is over goes back into the user's pool.
  #over = false;
  #beginning: BeginWithFirst | undefined;
  /** Of the barrier that went in with the beginning, and that no job has asked for yet. */
  #ahead: (BarrierKey & { readonly ends: TransactionEnds }) | undefined;

  async begin(isolationLevel?: IsolationLevel, barrier?: () => BarrierKey | undefined): Promise<void> {
    const { runner } = this;
    try {
      driverStateOf(runner); // on MySQL it watches from the first statement on, and need not ask later
      const level = isolationLevel ?? runner.dataSource.options.isolationLevel;
      if (this.withCommit && level === undefined) await this.#beginWithFirst(barrier?.());
      else await runner.startTransaction(isolationLevel);
    } catch (error) {
      await closeConnection(runner, error);
      throw error;
    }
    reserveCommit(runner);
    this.isActive(); // from now on it is the transaction that is open now
  }

  /** A trip less of every transaction, and one more of a start whose job is in another database. */
  async #beginWithFirst(barrier: BarrierKey | undefined): Promise<void> {
    const { runner } = this;
    const { dataSource } = runner;
    const insert = barrier && {
      name: 'stepping_drawn_barrier',
      text: insertDrawnBarrier(barrierTableOf(dataSource)),
      values: [barrier.gid, barrier.instance],
    };
    const send: Send = async (query, sql) => {
      this.#beginning = BeginWithFirst.on(runner, insert ? [{ text: sql }, insert] : [{ text: sql }]);
      if (!this.#beginning) return query(sql);
      dataSource.logger.logQuery(sql, undefined, runner);
      if (insert) dataSource.logger.logQuery(insert.text, insert.values, runner);
      return undefined;
    };
    await sentBy(runner, BEGIN, send, () => runner.startTransaction());
    if (this.#beginning && barrier) this.#ahead = { ...barrier, ends: transactionEnds(runner) };
  }

  override failedToBegin(): unknown {
    const error = this.#beginning?.error;
    return error && explained(error, this.runner.dataSource, BARRIER);
  }

  override async insertBarrier(gid: string, instance: string): Promise<boolean> {
    const { runner } = this;
    const ahead = this.#ahead;
    if (ahead?.gid !== gid || ahead.instance !== instance) return super.insertBarrier(gid, instance);
    await this.#beginning?.send();
    await stateIsKnown(runner);
    const ends = transactionEnds(runner);
    if (ends.commits !== ahead.ends.commits) throw endedByBody();
    // A rollback of all, or to a savepoint, may have taken it away. Or a statement failed, and its error was swallowed: this one tells.
    const isThere = driverStateOf(runner) === 'open' && ends.rollbacks === ahead.ends.rollbacks;
    if (!isThere) await super.insertBarrier(gid, instance);
    this.#ahead = undefined;
    return true;
  }

  override async commit(): Promise<void> {
    await super.commit();
    this.#over = true;
    // By itself: in the transaction it would run with the role, or the right only to read, that the body may have set.
    if (this.#ahead) await this.deleteBarrier(this.#ahead.gid, this.#ahead.instance).catch(() => {});
  }

  override async rollback(): Promise<void> {
    await super.rollback();
    this.#over = true;
  }

  async release(): Promise<void> {
    const { runner } = this;
    if (runner.isReleased) return;
    if (!this.#over) await this.rollback().catch(() => {});
    const isIdle = this.#over && !runner.isTransactionActive && !IN_TRANSACTION.includes(driverStateOf(runner));
    await (isIdle ? runner.release() : closeConnection(runner, new Error('Its transaction is not over'))).catch(() => {});
  }
}

function endedByBody(): SteppingError<'TX_NOT_ACTIVE'> {
  return new SteppingError(
    'TX_NOT_ACTIVE',
    'The body of inTransaction has committed the transaction by SQL and begun another one, which is rolled back. Leave commit and rollback to inTransaction; for two transactions call it twice.',
  );
}

/** A transaction on a connection of the user's pool. */
async function pooledTransaction(database: FoundDatabase): Promise<BusinessTransaction> {
  const runner = database.dataSource.createQueryRunner('master');
  try {
    await runner.connect();
  } catch (error) {
    await closeConnection(runner, error);
    throw error;
  }
  return new PooledTransaction(runner, database);
}

// ── SQLite ──────────────────────────────────────────────────────────────────────────────────────────────────────────

class SqliteTransaction extends BusinessTransaction {
  readonly #leaveTurn: () => void;

  constructor(runner: QueryRunner, database: FoundDatabase, leaveTurn: () => void) {
    super(runner, database);
    this.#leaveTurn = leaveTurn;
  }

  async begin(): Promise<void> {
    const { runner } = this;
    try {
      await runner.startTransaction();
    } catch (error) {
      const connection = sqliteConnectionOf(runner.dataSource);
      if (connection.inTransaction) connection.exec('rollback');
      throw error;
    }
    reserveCommit(runner);
    this.isActive(); // from now on it is the transaction that is open now
  }

  // The turn ends with the transaction, before the job is submitted: the next one need not wait for that.
  override async commit(): Promise<void> {
    await super.commit().finally(() => this.#leaveIfOver());
  }

  override async rollback(): Promise<void> {
    await super.rollback().finally(() => this.#leaveIfOver());
  }

  async release(): Promise<void> {
    await this.rollback().catch(() => this.close().catch(() => {}));
    this.#leave();
  }

  #leaveIfOver(): void {
    if (!sqliteConnectionOf(this.runner.dataSource).inTransaction) this.#leave();
  }

  #leave(): void {
    // A save that the body did not await must fail from now on, not land in the transaction of the next.
    Object.assign(this.runner, { isReleased: true });
    this.#leaveTurn();
  }
}

/** A transaction on the clone of the user's DataSource, which is ours alone while we have the turn of the file. */
function sqliteTransaction(clone: DataSource, database: FoundDatabase, leaveTurn: () => void): BusinessTransaction {
  return new SqliteTransaction(newRunner(clone), database, leaveTurn);
}

/** What we use of TypeORM's SQLite driver and its runner beyond their public types. */
interface SqliteInternals {
  queryRunner: QueryRunner | undefined;
}
interface RunnerInternals {
  stmtCache?: unknown;
}

/** A runner for one transaction. TypeORM keeps one for the DataSource; with one for each, code that outlives its transaction has a runner that is released. */
function newRunner(clone: DataSource): QueryRunner {
  const driver = clone.driver as unknown as SqliteInternals;
  const last = driver.queryRunner as RunnerInternals | undefined;
  driver.queryRunner = undefined;
  const runner = clone.createQueryRunner();
  if (last?.stmtCache !== undefined) (runner as RunnerInternals).stmtCache = last.stmtCache; // prepared once, not in every transaction
  const query = runner.query.bind(runner);
  const connection = sqliteConnectionOf(clone);
  // TypeORM begins without taking the lock; a transaction that reads first and then writes would be refused under WAL when another process wrote meanwhile.
  runner.query = async (sql: string, ...rest: [any?, any?]) => {
    if (!runner.isReleased && sql === 'BEGIN TRANSACTION') return waitAndRun(connection, runner, 'BEGIN IMMEDIATE');
    if (!runner.isReleased && sql === 'COMMIT') return waitAndRun(connection, runner, 'COMMIT');
    return query(sql, ...rest);
  };
  return runner;
}

/** Both may find the file locked by another process: COMMIT without WAL, while somebody reads. */
async function waitAndRun(connection: SqliteConnection, runner: QueryRunner, sql: string): Promise<any> {
  runner.dataSource.logger.logQuery(sql, [], runner);
  await untilNotBusy(() => connection.exec(sql), SQLITE_LOCK_TIMEOUT_MS);
  return [];
}

/** Runs `work` in a turn that ends when it says so, or else when it is done. */
function withTurn<R>(turns: Turns, work: (leaveTurn: () => void) => Promise<R>): Promise<R> {
  return new Promise((resolve, reject) => {
    const turn = turns.run(() => new Promise<void>((leaveTurn) => work(leaveTurn).finally(leaveTurn).then(resolve, reject)));
    turn.catch(reject); // it has no turn to wait for: TX_NESTED
  });
}
