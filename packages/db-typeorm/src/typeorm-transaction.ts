import { type DbTransaction, SteppingError } from '@stepping/core';
import type { EntityManager, QueryRunner } from 'typeorm';
import { type DatabaseTarget, HeldTransaction, OwnedTransaction } from './held-transaction.js';

const committedByUs = new WeakSet<QueryRunner>();

/**
 * Your own open transaction, for `createJob({ transaction })`. With a QueryRunner `job.start()` commits for you; or call `job.prepare()`, commit, and then `job.submit()`. The
 * EntityManager of `dataSource.transaction(fn)` is committed by TypeORM: `job.prepare()` inside, `job.submit()` after it, and `job.start()` throws `TX_NOT_OWNED`.
 *
 * It stands for the transaction that is open now, not for a later one on the same QueryRunner. Its database must be registered by {@link typeormDb}.
 *
 * @throws {@link SteppingError} `TX_NOT_ACTIVE` for the EntityManager of a DataSource, which has no transaction.
 * @example
 * await queryRunner.startTransaction();
 * const job = stepping.createJob({ transaction: typeormTransaction(queryRunner) });
 */
export function typeormTransaction(held: QueryRunner | EntityManager, target: DatabaseTarget = {}): DbTransaction {
  if ('startTransaction' in held) return committedByUs.has(held) ? new HeldTransaction(held, target) : new OwnedTransaction(held, target);
  if (held.queryRunner !== undefined) return new HeldTransaction(held.queryRunner, target);
  throw new SteppingError(
    'TX_NOT_ACTIVE',
    'This EntityManager belongs to a DataSource and has no transaction. Pass the one that the callback of dataSource.transaction(fn) is given, or a QueryRunner.',
  );
}

/** `inTransaction` commits this one: a job that somebody ties to it by hand must not. */
export function reserveCommit(runner: QueryRunner): void {
  committedByUs.add(runner);
}
