import type { EventEmitter } from 'node:events';
import {
  closeConnection,
  dialectOf,
  mysqlTransactionOf,
  type PostgresConnection,
  type SqliteConnection,
  sqliteConnectionOf,
} from '@stepping/typeorm';
import type { QueryRunner } from 'typeorm';
import { isBeginning } from './begin-with-first.js';

/** What the driver itself knows of the connection's transaction. `failed`: PostgreSQL refuses every further statement, and makes a rollback of a COMMIT. */
export type DriverState = 'open' | 'failed' | 'none' | 'unknown';

/** TypeORM only counts the calls to its own methods; the driver also knows of a `COMMIT` sent as a query, or of a rollback by SQLite itself. */
export function driverStateOf(runner: QueryRunner): DriverState {
  const dialect = dialectOf(runner.dataSource);
  if (dialect === 'sqlite') return sqliteConnectionOf(runner.dataSource).inTransaction ? 'open' : 'none';
  if (dialect === 'mysql') return mysqlTransactionOf(runner);
  const connection = (runner as unknown as { databaseConnection?: PostgresConnection }).databaseConnection;
  const status = connection?.getTransactionStatus?.();
  if (status === 'I') return connection && isBeginning(connection) ? 'open' : 'none';
  if (status === 'E') return 'failed';
  return status === 'T' ? 'open' : 'unknown';
}

/**
 * Resolves when the driver knows what the last statement has made of the transaction. PostgreSQL tells of an error first and of the transaction afterwards; if the two arrive apart,
 * whoever catches the error goes on in between.
 */
export async function stateIsKnown(runner: QueryRunner): Promise<void> {
  const dialect = dialectOf(runner.dataSource);
  // On MySQL an error may have ended it (a deadlock), and only another answer tells.
  if (dialect === 'mysql' && mysqlTransactionOf(runner) === 'unknown' && !runner.isReleased) await runner.query('do 0').catch(() => {});
  if (dialect !== 'postgres') return;
  // An old `pg` cannot tell; in a failed transaction this fails, too.
  if (driverStateOf(runner) === 'unknown' && runner.isTransactionActive) await runner.query('select 1');
  const client = (runner as unknown as { databaseConnection?: PostgresClient }).databaseConnection;
  // Of a connection that is lost nothing comes any more.
  if (client?.readyForQuery !== false || client.connection?.stream?.destroyed) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  client.once('drain', resolve).once('end', resolve);
  await promise;
  client.off('drain', resolve).off('end', resolve);
}

/** What we use of `pg` beyond its public types. */
interface PostgresClient extends EventEmitter {
  readonly readyForQuery?: boolean;
  readonly connection?: { readonly stream?: { readonly destroyed?: boolean } };
}

/** Ends the transaction by ending its connection. */
export async function endConnection(runner: QueryRunner, reason: unknown): Promise<void> {
  if (dialectOf(runner.dataSource) !== 'sqlite') return closeConnection(runner, reason);
  const connection = sqliteConnectionOf(runner.dataSource) as SqliteConnection & { close(): void };
  // It is the only connection of the user's DataSource. SQLite says whether a rollback did it, so closing it is seldom needed.
  try {
    if (connection.inTransaction) connection.exec('rollback');
  } finally {
    if (connection.inTransaction) connection.close();
  }
  Object.assign(runner, { isTransactionActive: false, transactionDepth: 0 });
}
