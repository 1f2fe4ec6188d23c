import type { QueryRunner } from 'typeorm';

/** What we use of `pg` beyond its public types: a query writes its messages in `prepare`, and is handed the answers to each of them. */
interface Query {
  readonly name?: string;
  readonly callback?: Callback;
  requiresPreparation(): boolean;
  prepare(connection: Connection): void;
  handleCommandComplete(message: unknown, connection: Connection): void;
  handleError(error: Error, connection: Connection): void;
}

type Callback = (error: Error | null, result?: unknown) => void;
type QueryArgs = [config: string | object, values?: unknown, callback?: Callback];
type QueryClass = { new (...args: QueryArgs): Query; readonly prototype: Query };

interface Connection {
  parse(message: { readonly text: string }): void;
  bind(message: object): void;
  execute(message: object): void;
}

interface Client {
  query(...args: QueryArgs): unknown;
  readonly connection?: { readonly stream: { destroy(): void } };
  readonly pipeline?: boolean;
  readonly constructor: { readonly Query?: QueryClass };
}

const waiting = new WeakSet<object>();

/** Whether a transaction is to begin with the next statement on this connection. */
export function beginsWithNext(connection: object): boolean {
  return waiting.has(connection);
}

/**
 * What begins a transaction on a connection of `pg`, kept back until the first statement, whoever sends that, and sent in one trip with it. There is no Sync between the two: when the beginning
 * fails, the server skips what was sent with it. Then the connection is closed, so nothing that follows runs outside of the transaction. Source: PostgreSQL, Extended Query, Pipelining.
 */
export class BeginWithFirst {
  /** Why it could not begin, where we know more of that than the server. */
  error: unknown;
  readonly #runner: QueryRunner;
  readonly #statements: readonly string[];
  readonly #explain: (error: unknown) => unknown;
  readonly #client: Client;
  readonly #query: Client['query'];

  /** For a runner that is connected and does nothing yet. Undefined where its `pg` is not as we know it. */
  static on(runner: QueryRunner, statements: readonly string[], explain: (error: unknown) => unknown): BeginWithFirst | undefined {
    const client = clientOf(runner);
    const { prepare, requiresPreparation } = client.constructor.Query?.prototype ?? {};
    return prepare && requiresPreparation && client.connection && !client.pipeline
      ? new BeginWithFirst(runner, statements, explain)
      : undefined;
  }

  private constructor(runner: QueryRunner, statements: readonly string[], explain: (error: unknown) => unknown) {
    this.#runner = runner;
    this.#statements = statements;
    this.#explain = explain;
    this.#client = clientOf(runner);
    this.#query = this.#client.query;
    this.#client.query = (...first) => this.#sendWith(first);
    waiting.add(this.#client);
  }

  /** By itself, if no statement came. */
  async send(): Promise<void> {
    if (!beginsWithNext(this.#client)) return;
    this.#isDue();
    await new Promise<void>((resolve) => this.#sendAlone(resolve));
  }

  #isDue(): void {
    this.#client.query = this.#query;
    waiting.delete(this.#client);
  }

  #sendWith(args: QueryArgs): unknown {
    const client = this.#client;
    this.#isDue();
    // Somebody gave the connection back: whoever has it now began nothing.
    if (this.#runner.isReleased) return client.query(...args);
    const isQuery = 'submit' in Object(args[0]); // of a cursor, a stream: it waits for its turn
    const first = isQuery ? undefined : new (client.constructor.Query as QueryClass)(...args);
    if (!first?.requiresPreparation()) {
      this.#sendAlone();
      return client.query(...args);
    }
    this.#lead(first);
    if (first.callback) return client.query(first);
    return new Promise((resolve, reject) => {
      client.query(first, undefined, (error, result) => (error ? reject(error) : resolve(result)));
    }).catch((error) => {
      Error.captureStackTrace(error); // as `pg` does: who asked, not who read the socket
      throw error;
    });
  }

  #sendAlone(answered?: () => void): void {
    this.#client.query(this.#statements.join('; '), undefined, (error) => {
      if (error) this.#failed(error);
      answered?.();
    });
  }

  #lead(first: Query): void {
    const { name, prepare, handleCommandComplete, handleError } = first;
    let isWritten = false;
    let left = this.#statements.length;
    const isOurs = () => isWritten && left > 0;
    first.prepare = (connection) => {
      for (const text of this.#statements) {
        connection.parse({ text });
        connection.bind({});
        connection.execute({});
      }
      prepare.call(first, connection);
      isWritten = true;
    };
    first.handleCommandComplete = (message, connection) => {
      if (isOurs()) left -= 1;
      else handleCommandComplete.call(first, message, connection);
    };
    first.handleError = (error, connection) => handleError.call(first, isOurs() ? this.#failed(error) : error, connection);
    // `pg` notes by it which statement the server has parsed; ours have none.
    if (name) Object.defineProperty(first, 'name', { get: () => (isOurs() ? undefined : name) });
  }

  #failed(error: Error): Error {
    const reason = this.#explain(error) as Error;
    if (reason !== error) this.error = reason;
    this.#client.connection?.stream.destroy();
    return reason;
  }
}

function clientOf(runner: QueryRunner): Client {
  return (runner as unknown as { databaseConnection: Client }).databaseConnection;
}
