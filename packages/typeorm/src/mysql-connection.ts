import type { DataSource, QueryRunner } from 'typeorm';
import { closeConnection, usedOnce } from './connection.js';

/** What we use of mysql2's connection: its own interface of callbacks, which costs less than its promises. */
export interface MysqlConnection {
  query(query: MysqlQuery, done: MysqlDone): unknown;
  /** Prepared once per connection. */
  execute(query: MysqlQuery, done: MysqlDone): unknown;
  readonly stream: { write(data: Uint8Array, sent: () => void): unknown; destroy(error: Error): unknown; readonly destroyed?: boolean };
  readonly threadId: number | null;
}

export interface MysqlQuery {
  readonly sql: string;
  readonly values?: readonly unknown[];
  readonly rowsAsArray?: boolean;
  /** Longest wait for the answer. Unit: ms. */
  readonly timeout?: number | undefined;
}

type MysqlDone = (error: Error | null, result: any) => void;

/** The answer to one statement. */
export interface MysqlResult {
  /** None of a write. */
  readonly rows: any[];
  /** Of a write: the rows that it matched, changed or not; of an insert, those that went in. */
  readonly affected: number;
}

/** Sends one statement. */
export type MysqlSend = (sql: string, values?: readonly unknown[]) => Promise<MysqlResult>;

/** The server may be set to anything. Strict: what does not fit is refused, never cut off. */
const SETTINGS = `sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00'`;

/** For getting a connection of the pool. Unit: ms. */
const CONNECT_TIMEOUT_MS = 5_000;
/** What each connection was told last: one of the pool serves works with different timeouts. */
const settingsOf = new WeakMap<MysqlConnection, string>();

/**
 * Our transactions pause for a trip between their statements, no longer. When the way to the server is dead and nobody was told, it would hold their rows for hours, and a job whose row is
 * locked is passed over by every claim. Unit: s.
 */
const IDLE_TRANSACTION_S = 10;
/** MySQL can only end a connection that is idle, in a transaction or not; the lane then opens another. Unit: s. */
const IDLE_CONNECTION_S = 60;

/** How a connection of our own is set up. */
export interface MysqlSettings {
  /** In whole seconds, rounded up. Unit: ms. */
  readonly lockTimeoutMs: number;
  /** MariaDB ends a statement by itself after this. Unit: ms. */
  readonly statementTimeoutMs: number;
  /** Default true. False: every statement is in a transaction, which only a commit or rollback ends. */
  readonly autocommit?: boolean | undefined;
}

/** What a connection of our own is told once. READ COMMITTED: with gap locks, strangers would wait for each other. */
export function mysqlSettings({ lockTimeoutMs, statementTimeoutMs, autocommit = true }: MysqlSettings): string {
  const seconds = Math.max(1, Math.ceil(lockTimeoutMs / 1_000));
  // `/*M!` is read by MariaDB alone, `/*!80000` by MySQL; which can only end reads.
  const timeouts = `innodb_lock_wait_timeout = ${seconds} /*M!, max_statement_time = ${statementTimeoutMs / 1_000} */`;
  const idle = autocommit
    ? ''
    : ` /*M!, idle_transaction_timeout = ${IDLE_TRANSACTION_S} */ /*!80000 , wait_timeout = ${IDLE_CONNECTION_S} */`;
  // The isolation in a statement of its own: in a list with others it would be an error.
  return `set session ${SETTINGS}, ${timeouts}${idle}; set session transaction isolation level read committed; set session autocommit = ${Number(autocommit)}`;
}

/** Lends a connection of a DataSource of our own (see `ownDataSource`) to `work`. It goes back into the pool only in a state that is known: after an answer of the server. */
export async function withMysqlConnection<R>(
  dataSource: DataSource,
  { lockTimeoutMs, timeoutMs }: { lockTimeoutMs: number; timeoutMs: number },
  work: (send: MysqlSend) => Promise<R>,
): Promise<R> {
  const runner = dataSource.createQueryRunner('master');
  const connection = await connectInTime(runner);
  const send: MysqlSend = (sql, values = []) => sendMysql(connection, { sql, values, timeout: timeoutMs });
  const setUpAndWork = async () => {
    const settings = mysqlSettings({ lockTimeoutMs, statementTimeoutMs: timeoutMs });
    if (settingsOf.get(connection) !== settings) await send(settings);
    settingsOf.set(connection, settings);
    return work(send);
  };
  return usedOnce(runner, setUpAndWork, () => send('rollback'));
}

/** Sends one statement of text over a connection. */
export function sendMysql(connection: MysqlConnection, query: MysqlQuery): Promise<MysqlResult> {
  return new Promise((resolve, reject) => {
    connection.query(query, (error, result) => (error ? reject(error) : resolve(resultOf(result))));
  });
}

/** The same, prepared once per connection. */
export function executeMysql(connection: MysqlConnection, query: MysqlQuery): Promise<MysqlResult> {
  return new Promise((resolve, reject) => {
    connection.execute(query, (error, result) => (error ? reject(error) : resolve(resultOf(result))));
  });
}

/** Of several statements in one text, the first of which gives no rows: the answer to the last one. */
function resultOf(result: any): MysqlResult {
  const last = Array.isArray(result) && isHeader(result[0]) ? result.at(-1) : result;
  return Array.isArray(last) ? { rows: last, affected: 0 } : { rows: [], affected: Number(last.affectedRows) };
}

function isHeader(result: unknown): boolean {
  return typeof result === 'object' && result !== null && 'affectedRows' in result;
}

async function connectInTime(runner: QueryRunner): Promise<MysqlConnection> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`No connection to the database within ${CONNECT_TIMEOUT_MS} ms`)), CONNECT_TIMEOUT_MS);
  try {
    return await Promise.race([runner.connect(), late]);
  } catch (error) {
    await closeConnection(runner, error);
    throw error;
  } finally {
    clearTimeout(timer);
  }
}
