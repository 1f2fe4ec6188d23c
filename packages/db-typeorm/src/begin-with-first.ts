import type { QueryRunner } from 'typeorm';

/** What we use of `pg` beyond its public types: a query writes its messages in `prepare`, and is handed the answers to each of them. */
interface Query {
  readonly name?: string;
  readonly callback?: Callback;
  requiresPreparation(): boolean;
  prepare(connection: Connection): void;
  handleCommandComplete(message: unknown, connection: Connection): void;
  handleReadyForQuery(connection: Connection): void;
  handleError(error: Error, connection: Connection): void;
}

type Callback = (error: Error | null, result?: unknown) => void;
type QueryArgs = [config: string | object, values?: unknown, callback?: Callback];
type QueryClass = { new (...args: QueryArgs): Query; readonly prototype: Query };

interface Connection {
  /** By their names: what the server has prepared on this connection. */
  readonly parsedStatements: Record<string, string | undefined>;
  parse(message: { readonly text: string; readonly name?: string | undefined }): void;
  bind(message: { readonly statement?: string | undefined; readonly values?: readonly string[] | undefined }): void;
  execute(message: object): void;
  sync(): void;
  once(event: 'readyForQuery', listener: () => void): unknown;
}

/** With a name the server prepares it, once for a connection. */
export interface Statement {
  readonly name?: string;
  readonly text: string;
  readonly values?: readonly string[];
}

interface Client {
  query(...args: QueryArgs): unknown;
  readonly connection?: { readonly stream: { destroy(): void } };
  readonly pipeline?: boolean;
  readonly constructor: { readonly Query?: QueryClass };
}

const beginning = new WeakMap<object, BeginWithFirst>();

/** Whether a transaction begins on this connection, of which the server has not told yet: the first statement is to come, or not answered. */
export function isBeginning(connection: object): boolean {
  return beginning.has(connection);
}

/**
 * What begins a transaction on a connection of `pg`, kept back until the first statement, whoever sends that, and sent in one trip with it. There is no Sync between the two: when the beginning
 * fails, the server skips what was sent with it. Then the connection is closed, so nothing that follows runs outside of the transaction. Source: PostgreSQL, Extended Query, Pipelining.
 */
export class BeginWithFirst {
  /** Why it could not begin, where we know more of that than the server. */
  error: unknown;
  readonly #runner: QueryRunner;
  readonly #statements: readonly Statement[];
  readonly #explain: (error: unknown) => unknown;
  readonly #client: Client;
  readonly #query: Client['query'];
  #isSent = false;

  /** For a runner that is connected and does nothing yet. Undefined where its `pg` is not as we know it. */
  static on(runner: QueryRunner, statements: readonly Statement[], explain: (error: unknown) => unknown): BeginWithFirst | undefined {
    const client = clientOf(runner);
    const { prepare, requiresPreparation } = client.constructor.Query?.prototype ?? {};
    return prepare && requiresPreparation && client.connection && !client.pipeline
      ? new BeginWithFirst(runner, statements, explain)
      : undefined;
  }

  private constructor(runner: QueryRunner, statements: readonly Statement[], explain: (error: unknown) => unknown) {
    this.#runner = runner;
    this.#statements = statements;
    this.#explain = explain;
    this.#client = clientOf(runner);
    this.#query = this.#client.query;
    this.#client.query = (...first) => this.#sendWith(first);
    beginning.set(this.#client, this);
  }

  /** By itself, if no statement came. */
  async send(): Promise<void> {
    if (this.#isSent) return;
    this.#isDue();
    await new Promise<void>((resolve) => this.#sendAlone(resolve));
  }

  #isDue(): void {
    this.#isSent = true;
    this.#client.query = this.#query;
  }

  #sendWith(args: QueryArgs): unknown {
    const client = this.#client;
    if (this.#runner.isReleased) {
      // Somebody gave the connection back: whoever has it now began nothing.
      this.#isDue();
      this.#isTold();
      return client.query(...args);
    }
    const isQuery = 'submit' in Object(args[0]); // of a cursor, a stream: it waits for its turn
    const first = isQuery ? undefined : this.#newQuery(args); // where that throws, the first is still to come
    this.#isDue();
    if (!first?.requiresPreparation()) {
      this.#sendAlone();
      return client.query(...args);
    }
    const { prepare } = first;
    this.#lead(first, (connection) => prepare.call(first, connection));
    if (first.callback) return client.query(first);
    return new Promise((resolve, reject) => {
      client.query(first, undefined, (error, result) => (error ? reject(error) : resolve(result)));
    }).catch((error) => {
      Error.captureStackTrace(error); // as `pg` does: who asked, not who read the socket
      throw error;
    });
  }

  #sendAlone(answered: () => void = () => {}): void {
    const text = this.#statements.map((statement) => statement.text).join('; ');
    const alone = this.#newQuery([text, [''], answered]); // with values, so that it is not sent as the text
    this.#lead(alone, (connection) => connection.sync());
    this.#client.query(alone);
  }

  #lead(first: Query, write: (connection: Connection) => void): void {
    const { name, handleCommandComplete, handleReadyForQuery, handleError } = first;
    let state: 'unsent' | 'writing' | 'sent' = 'unsent';
    let left = this.#statements.length;
    const isOurs = () => state === 'sent' && left > 0;
    first.prepare = (connection) => {
      state = 'writing';
      for (const statement of this.#statements) send(connection, statement);
      write(connection);
      state = 'sent';
    };
    first.handleCommandComplete = (message, connection) => {
      if (isOurs()) left -= 1;
      else handleCommandComplete.call(first, message, connection);
    };
    first.handleReadyForQuery = (connection) => {
      this.#isTold();
      handleReadyForQuery.call(first, connection);
    };
    first.handleError = (error, connection) => {
      // What fails while it is written is a value of the first statement: the beginning is on its way.
      const hasFailed = state === 'unsent' || isOurs();
      if (state === 'sent') connection.once('readyForQuery', () => this.#isTold());
      handleError.call(first, hasFailed ? this.#failed(error) : error, connection);
    };
    // `pg` notes by it which statement the server has parsed; ours have none.
    if (name) Object.defineProperty(first, 'name', { get: () => (isOurs() ? undefined : name) });
  }

  #newQuery(args: QueryArgs): Query {
    const { query_timeout } = Object(args[0]);
    return Object.assign(new (this.#client.constructor.Query as QueryClass)(...args), query_timeout === undefined ? {} : { query_timeout });
  }

  #isTold(): void {
    if (beginning.get(this.#client) === this) beginning.delete(this.#client);
  }

  #failed(error: Error): Error {
    const reason = this.#explain(error) as Error;
    if (reason !== error) this.error = reason;
    this.#client.connection?.stream.destroy();
    return reason;
  }
}

function send(connection: Connection, { name, text, values }: Statement): void {
  const { parsedStatements } = connection;
  if (name === undefined || parsedStatements[name] !== text) connection.parse({ name, text });
  connection.bind({ statement: name, values });
  connection.execute({});
  // Noted before it is done: where it fails, the connection is closed.
  if (name !== undefined) parsedStatements[name] = text;
}

function clientOf(runner: QueryRunner): Client {
  return (runner as unknown as { databaseConnection: Client }).databaseConnection;
}
