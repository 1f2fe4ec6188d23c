import { type DbProvider, type DbRef, type InDoubtAnswer, SteppingError } from '@stepping/core';
import { type CloneShare, dialectOf, isDefiniteRefusal, isInMemory, originOf, transactionalClone } from '@stepping/typeorm';
import type { DataSource } from 'typeorm';
import type { Barriers } from './barriers.js';
import { PostgresBarriers } from './postgres-barriers.js';
import { SqliteBarriers } from './sqlite-barriers.js';
import type { TypeormDbOptions } from './typeorm-db.js';

/** First part of the `DbRef` of a database with TypeORM. */
export const PROVIDER = 'typeorm';

/** Those of all apps of this process: a request that is received comes with no app. */
export const startedDatabases = new Set<TypeormDbProvider>();

export class TypeormDbProvider implements DbProvider {
  readonly provider = PROVIDER;
  readonly name: string;
  /** One database per tenant, instead of one. */
  readonly perTenant: boolean;
  readonly #options: TypeormDbOptions;
  readonly #barriers = new Map<DataSource, Barriers>();
  readonly #clones = new Map<DataSource, Promise<CloneShare>>();

  constructor(options: TypeormDbOptions) {
    this.name = options.name ?? 'default';
    this.perTenant = options.resolve !== undefined;
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
    for (const clone of this.#clones.values()) await clone.then(({ release }) => release()).catch(() => {});
    for (const barriers of this.#barriers.values()) await barriers.close().catch(() => {});
  }

  refOf(tenant: string | undefined): DbRef {
    return { provider: PROVIDER, name: this.name, ...(this.perTenant && tenant !== undefined ? { tenant } : {}) };
  }

  /** The user's DataSource. */
  async dataSourceOf(tenant: string | undefined): Promise<DataSource> {
    if (this.#options.dataSource !== undefined) return this.#options.dataSource;
    if (tenant !== undefined) return this.#options.resolve(tenant);
    throw new SteppingError('DB_UNKNOWN', `The database '${this.name}' is one per tenant: say which in { db: '${this.name}', tenant }.`, {
      name: this.name,
    });
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

  async resolveInDoubt(gid: string, instance: string, ref: DbRef): Promise<InDoubtAnswer> {
    try {
      return await (await this.#barriersOf(ref.tenant)).resolveInDoubt(gid, instance);
    } catch {
      return 'unknown';
    }
  }

  async hasCommitted(gid: string, instance: string, ref: DbRef): Promise<boolean> {
    return (await this.#barriersOf(ref.tenant)).hasCommitted(gid, instance);
  }

  async purgeBarriers(gids: readonly string[], ref: DbRef): Promise<void> {
    if (gids.length > 0) await (await this.#barriersOf(ref.tenant)).purge(gids);
  }

  async migrate({ tenant }: { tenant: string | undefined }): Promise<void> {
    // Nobody knows all tenants; and the one database is no tenant's.
    if (this.perTenant !== (tenant !== undefined)) return;
    try {
      await (await this.#barriersOf(tenant)).migrate();
    } catch (error) {
      throw this.#notMigrated(error);
    }
  }

  async #barriersOf(tenant: string | undefined): Promise<Barriers> {
    const dataSource = originOf(await this.dataSourceOf(tenant));
    const known = this.#barriers.get(dataSource);
    if (known !== undefined) return known;
    const barriers = dialectOf(dataSource) === 'postgres' ? new PostgresBarriers(dataSource) : new SqliteBarriers(inFile(dataSource));
    this.#barriers.set(dataSource, barriers);
    return barriers;
  }

  #notMigrated(error: unknown): unknown {
    if (SteppingError.is(error)) return error;
    const details = { name: this.name, cause: error };
    if (isDefiniteRefusal(error)) {
      return new SteppingError(
        'STORE_REFUSED',
        `The database '${this.name}' refused to make the barrier table: ${error}. Give its user the right to create tables, or apply steppingBarrierMigrations() yourself.`,
        details,
      );
    }
    return new SteppingError('STORE_UNAVAILABLE', `The database '${this.name}' cannot be reached: ${error}. Nothing was started.`, details);
  }
}

function inFile(dataSource: DataSource): DataSource {
  if (!isInMemory(dataSource)) return dataSource;
  throw new SteppingError(
    'CONFIG_INVALID',
    'A SQLite database in memory has one connection, so no second one could ask what became of a transaction. Give the DataSource a file.',
  );
}
