import type { DataSource, QueryRunner } from 'typeorm';
import { isDefiniteRefusal } from './database-error.js';

/** What we use of `pg`'s client. */
export interface PostgresConnection {
  query(
    query: string | { readonly name?: string; readonly text: string; readonly values?: readonly unknown[] },
  ): Promise<{ readonly rows: any[]; readonly rowCount: number | null; readonly command: string }>;
  query(
    text: string,
    values: readonly unknown[],
  ): Promise<{ readonly rows: any[]; readonly rowCount: number | null; readonly command: string }>;
  /** Since pg 8.17: `I` idle, `T` in a transaction, `E` in one that failed. */
  getTransactionStatus?(): 'I' | 'T' | 'E' | null;
  on(event: 'notification', listener: (message: { readonly channel: string; readonly payload?: string }) => void): unknown;
}

/** What we use of better-sqlite3's connection. */
export interface SqliteConnection {
  prepare(sql: string): SqliteStatement;
  exec(sql: string): unknown;
  pragma(source: string, options?: { readonly simple?: boolean }): unknown;
  readonly inTransaction: boolean;
}

export interface SqliteStatement {
  run(...values: readonly unknown[]): { readonly changes: number; readonly lastInsertRowid: number | bigint };
  get(...values: readonly unknown[]): any;
  all(...values: readonly unknown[]): any[];
}

/** The one connection of a SQLite DataSource. */
export function sqliteConnectionOf(dataSource: DataSource): SqliteConnection {
  return (dataSource.driver as unknown as { databaseConnection: SqliteConnection }).databaseConnection;
}

/** Lends a connection of a PostgreSQL DataSource to `work`. It goes back into the pool only in a state that is known: after an answer of the server. */
export async function withPostgresConnection<R>(dataSource: DataSource, work: (connection: PostgresConnection) => Promise<R>): Promise<R> {
  const runner = dataSource.createQueryRunner('master');
  const connection: PostgresConnection = await runner.connect();
  try {
    const result = await work(connection);
    await runner.release();
    return result;
  } catch (error) {
    if (isDefiniteRefusal(error) && (await rolledBack(connection))) await runner.release();
    else await closeConnection(runner, error);
    throw error;
  }
}

/** Ends the connection of a runner instead of giving it back to the pool: an open transaction ends with it. */
export async function closeConnection(runner: QueryRunner, reason: unknown): Promise<void> {
  if (runner.isReleased) return;
  const error = reason instanceof Error ? reason : new Error('closed');
  // TypeORM's own way to give back a broken connection: the pool then ends it. Not in its public types.
  await (runner as unknown as { releasePostgresConnection(error: Error): Promise<void> }).releasePostgresConnection(error);
}

async function rolledBack(connection: PostgresConnection): Promise<boolean> {
  try {
    await connection.query('rollback');
    return true;
  } catch {
    return false;
  }
}
