import { SteppingError } from '@stepping/core';
import { closeConnection, isDefiniteRefusal } from '@stepping/typeorm';
import type { DataSource, QueryRunner } from 'typeorm';

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

/** How much later than the server we give up a statement ourselves: it, or the way to it, is dead then. Unit: ms. */
const ANSWER_GRACE_MS = 5_000;

const SETTINGS = {
  // Rules R1, R9: a look after a wait must see what was waited for.
  default_transaction_isolation: 'read committed',
  // A custom plan of a batch costs as much as running it, and sees nothing that helps.
  plan_cache_mode: 'force_generic_plan',
  jit: 'off',
  lock_timeout: '0',
  idle_in_transaction_session_timeout: '0',
  // Times go back and forth as text.
  datestyle: 'ISO',
  timezone: 'UTC',
};

const asText = { getTypeParser: () => (text: string) => text };

/**
 * One connection of our own for one kind of work, which it does one after another. Opened when it is first needed, and anew after a loss.
 */
export class PostgresLane {
  readonly #dataSource: DataSource;
  readonly #options: PostgresLaneOptions;
  #runner: QueryRunner | undefined;
  #connecting: Promise<PostgresClient> | undefined;
  #tail: Promise<unknown> = Promise.resolve();
  #pending = 0;
  #closed = false;

  constructor(dataSource: DataSource, options: PostgresLaneOptions) {
    this.#dataSource = dataSource;
    this.#options = options;
  }

  /** How much work it has, including what is running. */
  get pending(): number {
    return this.#pending;
  }

  query(statement: PostgresStatement, values: readonly unknown[]): Promise<readonly PostgresRow[]> {
    return this.run((send) => send(statement, values));
  }

  /**
   * Runs `work` when the connection is free. With `withinMs`, the wait for that and for all answers is bounded by it. Rejects with `STORE_UNAVAILABLE` when nothing was
   * sent; after any error but a refusal of the server the connection is given up.
   */
  async run<R>(work: (send: Send) => Promise<R>, withinMs?: number): Promise<R> {
    const deadline = withinMs === undefined ? undefined : performance.now() + withinMs;
    const before = this.#tail;
    const { promise: mine, resolve: leave } = Promise.withResolvers<void>();
    this.#tail = mine;
    this.#pending++;
    const leaveInOrder = () => {
      this.#pending--;
      void before.then(() => leave());
    };
    try {
      await inTime(before, deadline);
      const client = await inTime(this.#connect(), deadline);
      const answerMs = deadline === undefined ? this.#options.statementTimeoutMs + ANSWER_GRACE_MS : undefined;
      return await work((statement, values) => this.#send(client, statement, values, answerMs ?? remaining(deadline)));
    } finally {
      leaveInOrder();
    }
  }

  /** For good. */
  async close(): Promise<void> {
    this.#closed = true;
    const runner = this.#runner;
    this.#runner = undefined;
    if (runner !== undefined) await closeConnection(runner, undefined);
  }

  #connect(): Promise<PostgresClient> {
    if (this.#runner !== undefined && !this.#runner.isReleased) return this.#runner.connect();
    // Who came before may have stopped waiting for it.
    this.#connecting ??= this.#open().finally(() => {
      this.#connecting = undefined;
    });
    return this.#connecting;
  }

  async #open(): Promise<PostgresClient> {
    const runner = this.#dataSource.createQueryRunner('master');
    try {
      const client: PostgresClient = await runner.connect();
      await client.query(this.#setUp());
      if (this.#closed) throw new Error('The store was stopped');
      this.#runner = runner;
      return client;
    } catch (cause) {
      await closeConnection(runner, cause).catch(() => {}); // never got one
      throw new SteppingError('STORE_UNAVAILABLE', 'PostgreSQL cannot be reached. Nothing was written; try again.', { cause });
    }
  }

  #setUp(): string {
    const settings = { ...SETTINGS, statement_timeout: `${Math.ceil(this.#options.statementTimeoutMs)}`, ...this.#options.settings };
    return Object.entries(settings)
      .map(([name, value]) => `set ${name} = '${value}'`)
      .join('; ');
  }

  async #send(
    client: PostgresClient,
    { name, text }: PostgresStatement,
    values: readonly unknown[],
    answerMs: number,
  ): Promise<readonly PostgresRow[]> {
    const runner = this.#runner;
    const giveUp = setTimeout(() => runner && closeConnection(runner, new Error(`No answer within ${Math.round(answerMs)} ms`)), answerMs);
    try {
      const { rows } = await client.query({ name, text, values, rowMode: 'array', types: asText });
      return rows;
    } catch (error) {
      if (runner !== undefined && !isDefiniteRefusal(error)) await closeConnection(runner, error);
      throw error;
    } finally {
      clearTimeout(giveUp);
    }
  }
}

/** Its turn, or its connection, did not come in time. Nothing was sent. */
export class LaneBusy extends SteppingError<'STORE_UNAVAILABLE'> {
  constructor() {
    super('STORE_UNAVAILABLE', 'The connections of the store are busy. Nothing was written; try again.');
  }
}

/** The one of several lanes for the same work that has least to do. */
export function leastBusy(lanes: readonly PostgresLane[]): PostgresLane {
  return lanes.reduce((best, lane) => (lane.pending < best.pending ? lane : best));
}

function remaining(deadline: number | undefined): number {
  return deadline === undefined ? Number.POSITIVE_INFINITY : Math.max(0, deadline - performance.now());
}

async function inTime<R>(work: Promise<R>, deadline: number | undefined): Promise<R> {
  if (deadline === undefined) return work;
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new LaneBusy()), remaining(deadline));
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
