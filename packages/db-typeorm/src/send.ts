import { withMysqlConnection, withPostgresConnection } from '@stepping/typeorm';
import type { DataSource } from 'typeorm';

/** How long a statement waits for a lock; an in-doubt question, for a transaction that is open. Unit: ms. */
export const LOCK_TIMEOUT_MS = 1_500;
/** Well above the wait for a lock: only for a server that does not answer at all. Unit: ms. */
export const QUERY_TIMEOUT_MS = 10_000;
/** Whatever the server's defaults are, our connections commit each statement by itself and read what is committed. */
export const MYSQL_TIMEOUTS = { lockTimeoutMs: LOCK_TIMEOUT_MS, timeoutMs: QUERY_TIMEOUT_MS };

/** Of one statement: its rows, and how many a write has changed. */
export interface Answer {
  readonly rows: any[];
  readonly affected: number;
}

/** Sends one statement, which is committed when it is answered, over a connection of our own. */
export type Send = (own: DataSource, sql: string, values: readonly unknown[]) => Promise<Answer>;

export const sendToPostgres: Send = async (own, sql, values) => {
  const { rows, rowCount } = await withPostgresConnection(own, (connection) => connection.query(sql, values));
  return { rows, affected: rowCount ?? 0 };
};

export const sendToMysql: Send = (own, sql, values) => withMysqlConnection(own, MYSQL_TIMEOUTS, (send) => send(sql, values));
