import type { DataSource, QueryRunner } from 'typeorm';
import { isDefiniteRefusal } from './database-error.js';
import { dialectOf } from './dialect.js';
import type { MysqlConnection } from './mysql-connection.js';

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

/** The whole message: without it the server would log an aborted connection. */
const QUIT = Buffer.from([1, 0, 0, 0, 1]);
/** For it to leave this process; a network that takes nothing must not keep the connection open. Unit: ms. */
const GOODBYE_MS = 50;

/** The one connection of a SQLite DataSource. */
export function sqliteConnectionOf(dataSource: DataSource): SqliteConnection {
  return (dataSource.driver as unknown as { databaseConnection: SqliteConnection }).databaseConnection;
}

/** Lends a connection of a PostgreSQL DataSource to `work`. It goes back into the pool only in a state that is known: after an answer of the server. */
export async function withPostgresConnection<R>(dataSource: DataSource, work: (connection: PostgresConnection) => Promise<R>): Promise<R> {
  const runner = dataSource.createQueryRunner('master');
  const connection: PostgresConnection = await runner.connect();
  return usedOnce(
    runner,
    () => work(connection),
    () => connection.query('rollback'),
  );
}

/** Uses the connection of a runner, and gives it back if the server's answers say in which state it is; else it is ended. */
export async function usedOnce<R>(runner: QueryRunner, work: () => Promise<R>, rollback: () => Promise<unknown>): Promise<R> {
  try {
    const result = await work();
    await runner.release();
    return result;
  } catch (error) {
    if (isDefiniteRefusal(error) && (await succeeds(rollback))) await runner.release();
    else await closeConnection(runner, error);
    throw error;
  }
}

/** Ends the connection of a runner instead of giving it back to the pool: an open transaction ends with it, and what waits for an answer fails. */
export async function closeConnection(runner: QueryRunner, reason: unknown): Promise<void> {
  if (runner.isReleased) return;
  if (dialectOf(runner.dataSource) === 'mysql') return closeMysqlConnection(runner);
  const error = reason instanceof Error ? reason : new Error('closed');
  // TypeORM's own way to give back a broken connection: the pool then ends it. Not in its public types.
  await (runner as unknown as { releasePostgresConnection(error: Error): Promise<void> }).releasePostgresConnection(error);
}

function closeMysqlConnection(runner: QueryRunner): void {
  const { databaseConnection, databaseConnectionPromise } = runner as unknown as {
    databaseConnection?: MysqlConnection;
    databaseConnectionPromise?: Promise<MysqlConnection>;
  };
  Object.assign(runner, { isReleased: true });
  const end = ({ stream }: MysqlConnection) => {
    // `destroy()` of mysql2 would leave whoever waits for an answer without one for ever. Never with the reason itself: it may be a refusal, which nobody else got.
    const destroy = () => stream.destroy(new Error('The connection was closed by us'));
    if (stream.destroyed) return;
    setTimeout(destroy, GOODBYE_MS).unref();
    stream.write(QUIT, destroy);
  };
  if (databaseConnection !== undefined) end(databaseConnection);
  else databaseConnectionPromise?.then(end, () => {}); // it did not come in time
}

async function succeeds(work: () => Promise<unknown>): Promise<boolean> {
  try {
    await work();
    return true;
  } catch {
    return false;
  }
}
