import { WriteRefused } from '@stepping/tm-local';
import {
  executeMysql,
  isDeadlock,
  isDefiniteRefusal,
  type MysqlConnection,
  type MysqlResult,
  type MysqlSettings,
  mysqlSettings,
  sendMysql,
} from '@stepping/typeorm';
import type { DataSource } from 'typeorm';
import { type Answered, Lane } from '../lane.js';

/** A row as the driver gives it: numbers beyond 2^53 as texts. */
export type MysqlRow = readonly any[];

/** Sends one statement over the lane's connection. */
export interface MysqlSend {
  /** Prepared once per connection. Numbers go as texts: the driver would send floating ones. */
  execute(sql: string, values: readonly (string | number | Buffer | null)[]): Promise<MysqlResult>;
  /** As text, where a list is a value, or several statements go in one trip. */
  query(sql: string, values?: readonly unknown[]): Promise<MysqlResult>;
}

/** Two that met in a deadlock may meet again. */
const MAX_DEADLOCKS = 5;

/** A connection to MariaDB or MySQL for one kind of work. */
export class MysqlLane extends Lane<MysqlConnection, MysqlSend> {
  readonly #settings: string;

  constructor(dataSource: DataSource, settings: MysqlSettings) {
    super(dataSource, settings.statementTimeoutMs);
    this.#settings = mysqlSettings(settings);
  }

  /**
   * Runs `work` in a transaction, on a lane without autocommit. Rejects with {@link WriteRefused} when the server refused a statement of it, or the commit, and the transaction was rolled back. A deadlock's victim
   * begins anew.
   */
  transaction<R>(work: (send: MysqlSend) => Promise<R>): Promise<R> {
    return this.run((send) => again(() => inTransaction(send, work)));
  }

  protected setUp(connection: MysqlConnection): Promise<unknown> {
    return sendMysql(connection, { sql: this.#settings });
  }

  protected sender(connection: MysqlConnection, answered: Answered): MysqlSend {
    return {
      execute: (sql, values) =>
        answered(
          executeMysql(connection, {
            sql,
            values: values.map((value) => (typeof value === 'number' ? String(value) : value)),
            rowsAsArray: true,
          }),
        ),
      query: (sql, values) => answered(sendMysql(connection, { sql, values: values ?? [], rowsAsArray: true })),
    };
  }

  protected isLost({ stream }: MysqlConnection): boolean {
    return stream.destroyed === true;
  }
}

/** Once more after a deadlock, which has undone all of it. */
export async function again<R>(work: () => Promise<R>): Promise<R> {
  for (let deadlocks = 0; ; deadlocks++) {
    try {
      return await work();
    } catch (error) {
      const cause = error instanceof WriteRefused ? error.cause : error;
      if (!isDeadlock(cause) || deadlocks >= MAX_DEADLOCKS) throw error;
    }
  }
}

/** Without autocommit, the first statement of `work` begins it. */
async function inTransaction<R>(send: MysqlSend, work: (send: MysqlSend) => Promise<R>): Promise<R> {
  try {
    const result = await work(send);
    await send.query('commit');
    return result;
  } catch (error) {
    if (!isDefiniteRefusal(error)) throw error; // the connection is given up, and with it the transaction
    await send.query('rollback');
    throw new WriteRefused(`The database refused a write: ${error instanceof Error ? error.message : error}`, { cause: error });
  }
}
