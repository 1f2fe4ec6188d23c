import { SteppingError } from '@stepping/core';
import { BarrierDbProvider } from '@stepping/core/db';
import { type CloneShare, dialectOf, isDefiniteRefusal, isLockTimeout, originOf, transactionalClone } from '@stepping/typeorm';
import type { DataSource } from 'typeorm';
import { type Database, databaseOf } from './database.js';
import type { TypeormDbOptions } from './typeorm-db.js';

/** First part of the `DbRef` of a database with TypeORM. */
export const PROVIDER = 'typeorm';

/** Those of all apps of this process: a request that is received comes with no app. */
export const startedDatabases = new Set<TypeormDbProvider>();

export class TypeormDbProvider extends BarrierDbProvider<DataSource, Database> {
  readonly provider = PROVIDER;
  readonly #options: TypeormDbOptions;
  /** Keyed by the object that the user gave: one with other credentials is another one. Several tenants may share it. */
  readonly #databases = new Map<DataSource, Database>();
  readonly #byTenant = new Map<string, DataSource>();
  readonly #clones = new Map<DataSource, Promise<CloneShare>>();

  constructor(options: TypeormDbOptions) {
    super(options);
    this.#options = options;
  }

  /** @throws {@link SteppingError} `STORE_UNAVAILABLE`, `STORE_REFUSED`, `CONFIG_INVALID` */
  async start(): Promise<void> {
    if (this.#options.dataSource !== undefined) await this.#startOne(this.#options.dataSource);
    // A tenant whose database is down must not keep the others from starting.
    startedDatabases.add(this);
  }

  async #startOne(dataSource: DataSource): Promise<void> {
    if (!dataSource.isInitialized) {
      throw new SteppingError(
        'CONFIG_INVALID',
        `The DataSource of database '${this.name}' is not initialized. Call await dataSource.initialize() before stepping.start().`,
        { name: this.name },
      );
    }
    await this.migrate({ tenant: undefined });
    if (dialectOf(dataSource) === 'sqlite') await this.transactionsOf(dataSource);
  }

  async close(): Promise<void> {
    startedDatabases.delete(this);
    const clones = [...this.#clones.values()].map((clone) => clone.then(({ release }) => release()));
    await Promise.allSettled([...clones, ...[...this.#databases.values()].map((database) => database.close())]);
  }

  /**
   * The user's DataSource.
   *
   * @throws {@link SteppingError} `DB_UNKNOWN` without a tenant where one is needed, `STORE_UNAVAILABLE` if it is not connected; and whatever `resolve` throws.
   */
  async dataSourceOf(tenant: string | undefined): Promise<DataSource> {
    if (this.#options.dataSource !== undefined) return this.#options.dataSource;
    const dataSource = await this.resolved(tenant);
    if (dataSource?.isInitialized) return dataSource;
    throw new SteppingError(
      'STORE_UNAVAILABLE',
      `resolve('${tenant}') of database '${this.name}' gave ${dataSource ? 'a DataSource that is not initialized, or destroyed' : 'no DataSource'}. It has to give one that is connected.`,
      { name: this.name, tenant },
    );
  }

  /** SQLite: the connection for transactions of our own. */
  async transactionsOf(dataSource: DataSource): Promise<DataSource> {
    const origin = originOf(dataSource);
    let clone = this.#clones.get(origin);
    if (clone === undefined) {
      clone = transactionalClone(origin);
      this.#clones.set(origin, clone);
      clone.catch(() => this.#clones.delete(origin));
    }
    return (await clone).dataSource;
  }

  protected async find(tenant: string | undefined): Promise<Database> {
    const dataSource = originOf(await this.dataSourceOf(tenant));
    if (tenant !== undefined) this.#rememberTenant(tenant, dataSource);
    const known = this.#databases.get(dataSource);
    if (known !== undefined) return known;
    const database = databaseOf(dataSource);
    this.#databases.set(dataSource, database);
    return database;
  }

  /** Credentials were changed, or the tenant has moved: connections with the old ones are let go, once nobody else has them. */
  #rememberTenant(tenant: string, dataSource: DataSource): void {
    const before = this.#byTenant.get(tenant);
    if (before === dataSource) return;
    this.#byTenant.set(tenant, dataSource);
    if (before === undefined || [...this.#byTenant.values()].includes(before)) return;
    const [database, clone] = [this.#databases.get(before), this.#clones.get(before)];
    this.#databases.delete(before);
    this.#clones.delete(before);
    database?.close().catch(() => {});
    clone?.then(({ release }) => release()).catch(() => {});
  }

  protected isThere(error: unknown): boolean {
    return isLockTimeout(error) || isDefiniteRefusal(error);
  }

  protected refusedMigration(error: unknown): string | undefined {
    if (!isDefiniteRefusal(error)) return undefined;
    return `The database '${this.name}' refused to make its tables: ${error}. Give its user the right to create tables, or apply steppingBarrierMigrations() yourself.`;
  }
}
