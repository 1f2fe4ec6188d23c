import { assertInMysqlTransaction, dialectOf, isUniqueViolation } from '@stepping/typeorm';
import type { QueryRunner } from 'typeorm';
import { explained } from './missing-table.js';
import { BARRIER } from './tables.js';

/**
 * Inserts a barrier in the user's open transaction, waiting while a rival that has the same key is undecided. False: the key is taken.
 *
 * @throws {@link SteppingError} `TX_NOT_ACTIVE`, `STORE_REFUSED` where the table was never made
 */
export async function insertKey(runner: QueryRunner, statement: string, values: readonly unknown[]): Promise<boolean> {
  try {
    return await insert(runner, statement, values);
  } catch (error) {
    throw explained(error, runner.dataSource, BARRIER);
  }
}

async function insert(runner: QueryRunner, statement: string, values: readonly unknown[]): Promise<boolean> {
  if (dialectOf(runner.dataSource) !== 'mysql') return (await runner.query(statement, [...values], true)).affected === 1;
  await assertInMysqlTransaction(runner);
  try {
    await runner.query(statement, [...values]);
    return true;
  } catch (error) {
    // There it undoes its own statement alone. `insert ignore` would pass over every other error as well.
    if (isUniqueViolation(error)) return false;
    throw error;
  }
}
