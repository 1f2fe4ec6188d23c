import type { DataSource } from 'typeorm';
import { type Answered, Lane } from '../lane.js';

/** A statement that the server parses and plans once per connection. */
export interface PostgresStatement {
  /** Undefined: parsed each time. */
  readonly name: string | undefined;
  readonly text: string;
}

/** A row as the server sent it: texts, whatever parsers the application has set for `pg`. */
export type PostgresRow = readonly (string | null)[];

/** Sends one statement over the lane's connection. */
export type Send = (statement: PostgresStatement, values: readonly unknown[]) => Promise<readonly PostgresRow[]>;

/** What we use of the client of `pg`. */
export interface PostgresClient {
  query(query: object | string): Promise<{ readonly rows: PostgresRow[] }>;
  on(event: string, listener: (event: any) => void): unknown;
  readonly processID: number;
}

export interface PostgresLaneOptions {
  /** Settings of the connection; those that every connection of ours has come on top. */
  readonly settings?: Readonly<Record<string, string>>;
  /** The server gives up a statement after this. Unit: ms. */
  readonly statementTimeoutMs: number;
}

const SETTINGS = {
  // Rules R1, R9: a look after a wait must see what was waited for.
  default_transaction_isolation: 'read committed',
  // A custom plan of a batch costs as much as running it, and sees nothing that helps.
  plan_cache_mode: 'force_generic_plan',
  // A plan that was made while the table was new and empty would read all of it, and be kept until somebody analyzes it: for a minute of a growing backlog.
  enable_seqscan: 'off',
  jit: 'off',
  lock_timeout: '0',
  idle_in_transaction_session_timeout: '0',
  // Times go back and forth as text.
  datestyle: 'ISO',
  timezone: 'UTC',
};

const asText = { getTypeParser: () => (text: string) => text };

/** A connection to PostgreSQL for one kind of work. */
export class PostgresLane extends Lane<PostgresClient, Send> {
  readonly #settings: Readonly<Record<string, string>>;

  constructor(dataSource: DataSource, { statementTimeoutMs, settings }: PostgresLaneOptions) {
    super(dataSource, statementTimeoutMs);
    this.#settings = { ...SETTINGS, statement_timeout: `${Math.ceil(statementTimeoutMs)}`, ...settings };
  }

  query(statement: PostgresStatement, values: readonly unknown[]): Promise<readonly PostgresRow[]> {
    return this.run((send) => send(statement, values));
  }

  protected setUp(client: PostgresClient): Promise<unknown> {
    return client.query(
      Object.entries(this.#settings)
        .map(([name, value]) => `set ${name} = '${value}'`)
        .join('; '),
    );
  }

  protected sender(client: PostgresClient, answered: Answered): Send {
    return async ({ name, text }, values) => (await answered(client.query({ name, text, values, rowMode: 'array', types: asText }))).rows;
  }

  protected isLost(): boolean {
    return false; // TypeORM releases the runner when the connection ends
  }
}
