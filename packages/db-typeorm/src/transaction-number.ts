import type { QueryRunner } from 'typeorm';

const numbers = new WeakMap<QueryRunner, number>();

/**
 * Tells one transaction of a QueryRunner from the next. TypeORM gives a transaction no identity, and a runner may begin one after another (on SQLite all
 * transactions of a DataSource share one runner). So we count: `startTransaction` of this one runner object is wrapped the first time we are asked, which changes
 * nothing for its caller. A subscriber would have to be added to the user's DataSource, for good; asking the database would cost a round trip and could not be
 * done in `isActive()`, which is synchronous.
 */
export function transactionNumber(runner: QueryRunner): number {
  const known = numbers.get(runner);
  if (known !== undefined) return known;
  const startTransaction = runner.startTransaction;
  runner.startTransaction = (isolationLevel) => {
    if (nestingDepth(runner) === 0) numbers.set(runner, transactionNumber(runner) + 1);
    return startTransaction.call(runner, isolationLevel);
  };
  numbers.set(runner, 0);
  return 0;
}

/** 0: no transaction, 1: a transaction, more: savepoints in it, which TypeORM makes when a transaction is started inside of another. */
export function nestingDepth(runner: QueryRunner): number {
  return (runner as unknown as { transactionDepth: number }).transactionDepth;
}
