import { SteppingError } from '@stepping/core';
import { type BarrierDatabase, BarrierDbProvider } from '@stepping/core/db';
import type { Connection } from 'mongoose';
import { migrateBarriers } from './barrier-collection.js';
import { Barriers, isAnswer } from './barriers.js';
import { isOpen } from './connected.js';
import { codeOf } from './driver-error.js';
import { Ledger } from './ledger.js';
import { migrateLedger } from './ledger-collection.js';
import type { MongooseDbOptions } from './mongoose-db.js';

/** First part of the `DbRef` of a database with Mongoose. */
export const PROVIDER = 'mongoose';

/** Those of all apps of this process: a request that is received comes with no app. */
export const startedDatabases = new Set<MongooseDbProvider>();

/** What is ours in one database of the user's. */
interface Database extends BarrierDatabase {
  readonly barriers: Barriers;
}

export class MongooseDbProvider extends BarrierDbProvider<Connection, Database> {
  readonly provider = PROVIDER;
  readonly #options: MongooseDbOptions;
  /** A connection with other credentials is another one. */
  readonly #databases = new WeakMap<Connection, Database>();

  constructor(options: MongooseDbOptions) {
    super(options);
    this.#options = options;
  }

  /** @throws {@link SteppingError} `STORE_UNAVAILABLE`, `STORE_REFUSED`, `CONFIG_INVALID` */
  async start(): Promise<void> {
    const { connection } = this.#options;
    if (connection !== undefined && !isOpen(connection)) {
      throw new SteppingError(
        'CONFIG_INVALID',
        `The connection of database '${this.name}' is not connected. Call await connection.asPromise() before stepping.start().`,
        { name: this.name },
      );
    }
    if (connection !== undefined) await this.migrate({ tenant: undefined });
    startedDatabases.add(this); // a tenant whose database is down must not keep the others from starting
  }

  close(): void {
    startedDatabases.delete(this);
  }

  /**
   * The user's connection.
   *
   * @throws {@link SteppingError} `DB_UNKNOWN` without a tenant where one is needed, `STORE_UNAVAILABLE` if it is not connected; and whatever `resolve` throws.
   */
  async connectionOf(tenant: string | undefined): Promise<Connection> {
    const connection = this.#options.connection ?? (await this.resolved(tenant));
    if (connection !== undefined && isOpen(connection)) return connection;
    const what = this.perTenant ? `resolve('${tenant}') of database '${this.name}' gave` : `Database '${this.name}' has`;
    throw new SteppingError(
      'STORE_UNAVAILABLE',
      `${what} ${connection ? 'a connection that is closed, or was never connected' : 'no connection'}. Nothing was written; connect it and try again.`,
      { name: this.name, tenant },
    );
  }

  async barriersOf(tenant: string | undefined): Promise<Barriers> {
    return (await this.databaseOf(tenant)).barriers;
  }

  protected async find(tenant: string | undefined): Promise<Database> {
    const connection = await this.connectionOf(tenant);
    const known = this.#databases.get(connection);
    if (known !== undefined) return known;
    const migrate = async () => {
      await migrateBarriers(connection);
      await migrateLedger(connection);
    };
    const database = { barriers: new Barriers(connection), ledger: new Ledger(connection), migrate };
    this.#databases.set(connection, database);
    return database;
  }

  /** Where we gave up waiting, it was for a transaction, which a server that is there explains, or for the server. */
  protected async isThere(error: unknown, tenant: string | undefined): Promise<boolean> {
    if (isAnswer(error)) return true;
    return this.barriersOf(tenant)
      .then((barriers) => barriers.hasEffect('~'))
      .then(
        () => true,
        () => false,
      );
  }

  protected refusedMigration(error: unknown): string | undefined {
    if (codeOf(error) === undefined) return undefined;
    return `The database '${this.name}' refused to make its collections: ${error}. Give its user the role readWrite on it.`;
  }
}
