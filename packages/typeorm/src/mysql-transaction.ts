import { SteppingError } from '@stepping/core';
import type { QueryRunner } from 'typeorm';
import type { MysqlConnection } from './mysql-connection.js';

/** Whether a connection of the user's is in a transaction, as far as the server has said. `unknown`: until its next answer to a write. */
export type MysqlTransaction = 'open' | 'none' | 'unknown';

/** Of the server status in every answer but errors and rows. */
const IN_TRANSACTION = 1;

const states = new WeakMap<QueryRunner, MysqlTransaction>();

/**
 * What is known of the transaction on a runner. A deadlock rolls all of it back, and a change of the schema commits it, while TypeORM still counts it as open: the next
 * statement would then be committed by itself. The driver keeps nothing of it, so `query` of this one runner object is wrapped the first time we are asked, which changes
 * nothing for its caller.
 */
export function mysqlTransactionOf(runner: QueryRunner): MysqlTransaction {
  if (isLost(runner)) return 'none';
  const known = states.get(runner);
  if (known !== undefined) return known;
  states.set(runner, 'unknown');
  const query = runner.query;
  runner.query = async (...args: Parameters<typeof query>) => {
    try {
      const result: any = await query.apply(runner, args);
      const { serverStatus } = result?.raw ?? result ?? {};
      if (typeof serverStatus === 'number') states.set(runner, serverStatus & IN_TRANSACTION ? 'open' : 'none');
      return result;
    } catch (error) {
      states.set(runner, 'unknown'); // most errors undo their statement only, some everything
      throw error;
    }
  };
  return 'unknown';
}

/**
 * Asks the server if need be.
 *
 * @throws {@link SteppingError} `TX_NOT_ACTIVE`: what is written next would not be undone by a rollback.
 */
export async function assertInMysqlTransaction(runner: QueryRunner): Promise<void> {
  if (mysqlTransactionOf(runner) === 'unknown') await runner.query('do 0');
  if (mysqlTransactionOf(runner) !== 'none') return;
  throw new SteppingError(
    'TX_NOT_ACTIVE',
    'The transaction has ended on the server, although nobody has committed it or rolled it back: a deadlock or a lost connection rolls it back, and a change of the schema commits it. Let the error of that statement pass, and begin anew.',
  );
}

function isLost(runner: QueryRunner): boolean {
  const { databaseConnection } = runner as unknown as { databaseConnection?: MysqlConnection };
  return databaseConnection?.stream.destroyed === true;
}
