import { DbProviders, type DbRef, type DbTransaction, type Resolver, SteppingError } from '@stepping/core';
import { commitOutcome, dialectOf, isDefiniteRefusal } from '@stepping/typeorm';
import type { QueryRunner } from 'typeorm';
import { driverStateOf, endConnection, stateIsKnown } from './driver-state.js';
import { type FoundDatabase, findDatabase } from './find-database.js';
import { insertKey } from './insert-key.js';
import { COMMIT, type Send, sentBy } from './sent-by.js';
import { deleteBarrier } from './sql/delete-barrier.js';
import { insertBarrier } from './sql/insert-barrier.js';
import { barrierTableOf } from './tables.js';
import { nestingDepth, transactionNumber } from './transaction-number.js';

/** Which registered database a transaction is of. */
export interface DatabaseTarget {
  /** Its name, as given to `typeormDb`. Default: the one that was registered with this DataSource. */
  readonly db?: string | undefined;
  /** Where there is a database per tenant. */
  readonly tenant?: string | undefined;
}

/** A transaction that somebody else commits: TypeORM, after the callback of `dataSource.transaction(fn)`. */
export class HeldTransaction implements DbTransaction {
  readonly native: { readonly kind: 'typeorm'; readonly handle: QueryRunner };
  protected readonly runner: QueryRunner;
  readonly #target: DatabaseTarget | FoundDatabase;
  // Which transaction of the runner it is; undefined until one is open.
  #number: number | undefined;

  /** `target`: where to look for its registered database, or the one that was found already. */
  constructor(runner: QueryRunner, target: DatabaseTarget | FoundDatabase) {
    this.native = { kind: 'typeorm', handle: runner };
    this.runner = runner;
    this.#target = target;
    this.isActive(); // from now on it is the transaction that is open now
  }

  async ref(resolver: Resolver): Promise<DbRef> {
    this.assertNotNested();
    if ('ref' in this.#target) return this.#target.ref;
    return (await findDatabase(resolver.resolve(DbProviders), this.runner.dataSource, this.#target)).ref;
  }

  isActive(): boolean {
    const { runner } = this;
    const number = transactionNumber(runner);
    if (runner.isReleased || !runner.isTransactionActive || nestingDepth(runner) === 0 || driverStateOf(runner) === 'none') return false;
    this.#number ??= number;
    return this.#number === number;
  }

  async insertBarrier(gid: string, instance: string): Promise<boolean> {
    const table = barrierTableOf(this.runner.dataSource);
    return insertKey(this.runner, insertBarrier(table), [gid, instance, 'msg']);
  }

  async deleteBarrier(gid: string, instance: string): Promise<void> {
    await this.runner.query(deleteBarrier(barrierTableOf(this.runner.dataSource)), [gid, instance]);
  }

  /** Also of a statement that core or a store ran in this transaction. */
  commitOutcome(error: unknown): 'not-committed' | 'unknown' {
    return isDefiniteRefusal(error) ? 'not-committed' : 'unknown';
  }

  async rollback(): Promise<void> {
    // Savepoints first: TypeORM's rollback ends the innermost only.
    while (this.isActive()) await this.runner.rollbackTransaction();
  }

  async close(): Promise<void> {
    if (this.#number === transactionNumber(this.runner))
      await endConnection(this.runner, new Error('Closed, so that its transaction ends.'));
  }

  /** @throws {@link SteppingError} `TX_NESTED` */
  assertNotNested(): void {
    if (nestingDepth(this.runner) <= 1) return;
    throw new SteppingError(
      'TX_NESTED',
      'This transaction is nested in another one (a savepoint), which may still roll it back after its commit. Prepare or start the job in the outermost transaction.',
      { depth: nestingDepth(this.runner) },
    );
  }
}

/** A transaction on a QueryRunner that we may commit. */
export class OwnedTransaction extends HeldTransaction {
  // What was found out about a commit that failed; it may be an error of anything, a subscriber for example.
  readonly #outcomes = new WeakMap<object, 'not-committed' | 'unknown'>();
  #last: string | undefined;
  /** PostgreSQL alone takes several statements in one text without being asked to. */
  readonly withCommit: ((statement: string) => void) | undefined;

  constructor(runner: QueryRunner, target: DatabaseTarget | FoundDatabase) {
    super(runner, target);
    if (!isPostgres(runner)) return;
    this.withCommit = (statement) => {
      this.#last = statement;
    };
  }

  async commit(): Promise<void> {
    await stateIsKnown(this.runner);
    this.#assertOpen();
    this.assertNotNested();
    if (driverStateOf(this.runner) === 'failed') {
      await this.rollback();
      throw this.#failed();
    }
    try {
      await this.#commit();
    } catch (error) {
      // TypeORM clears it when the COMMIT was acknowledged: what failed is a subscriber, and the transaction is committed all the same.
      if (this.runner.isTransactionActive) throw await this.#afterRefusal(error);
      process.emitWarning(`A subscriber failed after the transaction had been committed: ${error}`, { code: 'STEPPING_AFTER_COMMIT' });
    }
  }

  override commitOutcome(error: unknown): 'not-committed' | 'unknown' {
    return (isObject(error) ? this.#outcomes.get(error) : undefined) ?? super.commitOutcome(error);
  }

  /** By TypeORM, for its subscribers; what is to go with the COMMIT goes in the same text. */
  async #commit(): Promise<void> {
    const { runner } = this;
    if (!isPostgres(runner)) return runner.commitTransaction();
    const last = this.#last;
    const send: Send = async (query, sql) => {
      // A subscriber may have come last, and swallowed the error of its statement.
      await stateIsKnown(runner);
      if (driverStateOf(runner) === 'failed') throw this.#failed();
      return query(last === undefined ? sql : `${last}; ${sql}`);
    };
    const sent = await sentBy(runner, COMMIT, send, () => runner.commitTransaction());
    if (!sent && last !== undefined) await runner.query(last); // a TypeORM that commits in another way: late is better than never
  }

  #assertOpen(): void {
    if (this.isActive()) return;
    throw new SteppingError(
      'TX_NOT_ACTIVE',
      'The transaction cannot be committed: it has ended already (on MySQL also by a deadlock whose error was swallowed, or by a change of the schema), or its connection is lost. Leave commit and rollback to who opened the transaction.',
    );
  }

  /** PostgreSQL would answer COMMIT with a rollback, and call it a success. */
  #failed(): SteppingError<'TX_NOT_ACTIVE'> {
    const error = new SteppingError(
      'TX_NOT_ACTIVE',
      'The transaction cannot be committed: a statement in it failed, and PostgreSQL undoes all of it then. Let the error of that statement pass, or run the statement in a nested transaction (savepoint).',
    );
    this.#outcomes.set(error, 'not-committed');
    return error;
  }

  /** A refused COMMIT may leave the transaction open (SQLite's BUSY): it is rolled back before anybody is told that it did not commit. */
  async #afterRefusal(error: unknown): Promise<unknown> {
    const ended = await this.rollback().then(
      () => true,
      () => false,
    );
    if (!ended) await this.close().catch(() => {});
    if (isObject(error)) this.#outcomes.set(error, ended ? (this.#outcomes.get(error) ?? commitOutcome(error)) : 'unknown');
    return error;
  }
}

function isPostgres(runner: QueryRunner): boolean {
  return dialectOf(runner.dataSource) === 'postgres';
}

function isObject(error: unknown): error is object {
  return typeof error === 'object' && error !== null;
}
