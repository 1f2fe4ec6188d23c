import { QueryFailedError, type QueryRunner } from 'typeorm';

/** What we use of `pg` beyond its public types: a connection, below its client. */
interface Connection {
  /** By their names: what the server has prepared on this connection. */
  readonly parsedStatements: Record<string, string | undefined>;
  readonly stream: { destroy(): void; cork?(): void; uncork?(): void };
  parse(message: { readonly text: string; readonly name?: string | undefined }): void;
  bind(message: { readonly statement?: string | undefined; readonly values?: readonly string[] | undefined }): void;
  execute(message: object): void;
  sync(): void;
  query(text: string): void;
  /** Of what the server answers, by the names of its messages; to the client. */
  emit(event: string, message?: unknown): boolean;
}

interface Client {
  readonly connection?: Partial<Connection>;
  readonly pipeline?: boolean;
}

/** With a name the server prepares it, once for a connection. */
export interface Statement {
  readonly name?: string;
  readonly text: string;
  readonly values?: readonly string[];
}

const METHODS = ['parse', 'bind', 'execute', 'sync', 'query', 'emit'] as const;
/** Of each statement that begins it; its client did not ask for them. */
const ANSWERS = ['parseComplete', 'bindComplete', 'commandComplete'];
/** A statement of that name is not there, or was there before. */
const NOT_OURS = ['26000', '42P05'];

const beginning = new WeakMap<object, BeginWithFirst>();
/** Where what was prepared does not stay with its connection: it is reset, or a pool of servers is in between. */
const preparesNothing = new WeakSet<object>();

/** Whether a transaction begins on the connection of this client, of which the server has not told yet: the first statement is to come, or not answered. */
export function isBeginning(client: object): boolean {
  return beginning.has(client);
}

/**
 * What begins a transaction on a connection of `pg`, kept back until the first statement, whoever sends that, and sent in one trip with it. There is no Sync between the two: when the beginning
 * fails, the server skips what was sent with it. Then the connection is closed, so nothing that follows runs outside of the transaction. Source: PostgreSQL, Extended Query, Pipelining.
 *
 * Below the client, where its queries write their messages: whatever is done there, by whatever way and wrapper it came.
 */
export class BeginWithFirst {
  /** Why the server refused to begin. */
  error: QueryFailedError | undefined;
  readonly #runner: QueryRunner;
  readonly #client: Client;
  readonly #connection: Connection;
  readonly #statements: readonly Statement[];
  readonly #methods: Pick<Connection, (typeof METHODS)[number]>;
  #isSent = false;
  /** Statements of the beginning that are not answered. */
  #left: number;
  /** Sent when they are: a text may be several statements, which cannot go with others. */
  #text: string | undefined;

  /** For a runner that is connected and does nothing yet. Undefined where its `pg` is not as we know it. */
  static on(runner: QueryRunner, statements: readonly Statement[]): BeginWithFirst | undefined {
    const client = (runner as unknown as { databaseConnection: Client }).databaseConnection;
    const { connection, pipeline } = client;
    if (pipeline || !connection?.parsedStatements || METHODS.some((method) => typeof connection[method] !== 'function')) return undefined;
    const former = beginning.get(client);
    if (former) former.#end(); // of a body that gave its connection back
    return new BeginWithFirst(runner, client, connection as Connection, statements);
  }

  private constructor(runner: QueryRunner, client: Client, connection: Connection, statements: readonly Statement[]) {
    this.#runner = runner;
    this.#client = client;
    this.#connection = connection;
    this.#statements = statements;
    this.#left = statements.length;
    const { parse, bind, execute, sync, query, emit } = connection;
    this.#methods = { parse, bind, execute, sync, query, emit };
    connection.parse = (message) => {
      this.#send();
      connection.parse(message);
    };
    connection.bind = (message) => {
      this.#send(); // of one that is prepared
      connection.bind(message);
    };
    connection.query = (text) => {
      connection.stream.cork?.();
      if (this.#send()) {
        this.#text = text;
        connection.sync();
      } else connection.query(text);
      connection.stream.uncork?.();
    };
    connection.emit = (event, message) => this.#receive(event, message);
    beginning.set(client, this);
  }

  /** At the latest now. */
  async send(): Promise<void> {
    if (!this.#isSent && isBeginning(this.#client)) await this.#runner.query('select 1');
  }

  /** False: it is not for this statement. */
  #send(): boolean {
    const { parse, bind, query } = this.#methods;
    Object.assign(this.#connection, { parse, bind, query });
    if (this.#runner.isReleased) {
      this.#end(); // somebody gave the connection back: whoever has it now began nothing
      return false;
    }
    this.#isSent = true;
    for (const statement of this.#statements) this.#write(statement);
    return true;
  }

  #write({ name, text, values }: Statement): void {
    const connection = this.#connection;
    const statement = preparesNothing.has(this.#runner.dataSource) ? undefined : name;
    if (statement === undefined || connection.parsedStatements[statement] !== text) connection.parse({ name: statement, text });
    connection.bind({ statement, values });
    connection.execute({});
    // Noted before it is done: where it fails, the connection is closed.
    if (statement !== undefined) connection.parsedStatements[statement] = text;
  }

  #receive(event: string, message: unknown): boolean {
    const connection = this.#connection;
    const isOurs = this.#isSent && this.#left > 0;
    if (isOurs && ANSWERS.includes(event)) {
      if (event === 'commandComplete') this.#left--;
      return true;
    }
    if (event === 'readyForQuery' && this.#text !== undefined) {
      const text = this.#text;
      this.#text = undefined;
      connection.query(text);
      return true;
    }
    if (isOurs && event === 'errorMessage') this.#fail(message as Error);
    const told = this.#methods.emit.call(connection, event, message);
    if (event === 'readyForQuery' || event === 'end') this.#end(); // the client knows now
    return told;
  }

  #fail(error: Error): void {
    const { name, text, values } = this.#statements.at(-this.#left) as Statement;
    if (NOT_OURS.includes((error as { code?: string }).code ?? '') && name !== undefined) preparesNothing.add(this.#runner.dataSource);
    this.error = new QueryFailedError(text, values as string[] | undefined, error);
    this.#end();
    this.#connection.stream.destroy();
  }

  #end(): void {
    if (beginning.get(this.#client) !== this) return;
    Object.assign(this.#connection, this.#methods);
    beginning.delete(this.#client);
  }
}
