import { type DbRef, type InDoubtAnswer, type Logger, type StepLedger, SteppingError } from '@stepping/core';
import {
  DEFAULT_RETENTION_MS,
  type DrivenDbProvider,
  ledgerOver,
  type SweepOptions,
  sweepBarriers,
  sweepLedger,
  within,
} from '@stepping/core/db';
import { type CloneShare, dialectOf, isDefiniteRefusal, isLockTimeout, originOf, transactionalClone } from '@stepping/typeorm';
import type { DataSource } from 'typeorm';
import { type Database, databaseOf } from './database.js';
import type { TypeormDbOptions } from './typeorm-db.js';

/** First part of the `DbRef` of a database with TypeORM. */
export const PROVIDER = 'typeorm';

/** Those of all apps of this process: a request that is received comes with no app. */
export const startedDatabases = new Set<TypeormDbProvider>();

/** `resolve` of a database per tenant is code of the user, which may ask a directory for the tenant's credentials. Unit: ms. */
const RESOLVE_TIMEOUT_MS = 5_000;
/** One question with all that belongs to it: resolving, connecting, waiting for a lock. Far below the lease of the job that it is about. Unit: ms. */
const QUESTION_TIMEOUT_MS = 15_000;

export class TypeormDbProvider implements DrivenDbProvider {
  readonly provider = PROVIDER;
  readonly name: string;
  /** One database per tenant, instead of one. */
  readonly perTenant: boolean;
  readonly ledger: StepLedger;
  readonly #options: TypeormDbOptions;
  /** Keyed by the object that the user gave: one with other credentials is another one. Several tenants may share it. */
  readonly #databases = new Map<DataSource, Database>();
  readonly #byTenant = new Map<string, DataSource>();
  readonly #unreachable = new Set<string | undefined>();
  readonly #clones = new Map<DataSource, Promise<CloneShare>>();

  constructor(options: TypeormDbOptions) {
    this.name = options.name ?? 'default';
    this.perTenant = options.resolve !== undefined;
    this.#options = options;
    this.ledger = ledgerOver(
      options.barrierRetentionMs ?? DEFAULT_RETENTION_MS,
      async ({ tenant }) => (await this.#databaseOf(tenant)).ledger,
    );
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

  refOf(tenant: string | undefined): DbRef {
    return { provider: PROVIDER, name: this.name, ...(this.perTenant && tenant !== undefined ? { tenant } : {}) };
  }

  /**
   * The user's DataSource.
   *
   * @throws {@link SteppingError} `DB_UNKNOWN` without a tenant where one is needed, `STORE_UNAVAILABLE` if it is not connected; and whatever `resolve` throws.
   */
  async dataSourceOf(tenant: string | undefined): Promise<DataSource> {
    if (this.#options.dataSource !== undefined) return this.#options.dataSource;
    const { resolve } = this.#options;
    if (tenant === undefined) {
      throw new SteppingError('DB_UNKNOWN', `The database '${this.name}' is one per tenant: say which in { db: '${this.name}', tenant }.`, {
        name: this.name,
      });
    }
    const dataSource = await within(RESOLVE_TIMEOUT_MS, `resolve('${tenant}') of database '${this.name}'`, () => resolve(tenant));
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

  async resolveInDoubt(gid: string, instance: string, { tenant }: DbRef): Promise<InDoubtAnswer> {
    try {
      const ask = async () => (await this.#databaseOf(tenant)).barriers.resolveInDoubt(gid, instance);
      const answer = await within(QUESTION_TIMEOUT_MS, `A question to database '${this.name}'`, ask);
      this.#unreachable.delete(tenant);
      return answer;
    } catch (error) {
      // A server that refuses, or lets us wait for a lock, is there.
      if (isLockTimeout(error) || isDefiniteRefusal(error)) this.#unreachable.delete(tenant);
      else this.#unreachable.add(tenant);
      return 'unknown';
    }
  }

  isReachable({ tenant }: DbRef): boolean {
    return !this.#unreachable.has(tenant);
  }

  async hasCommitted(gid: string, instance: string, ref: DbRef): Promise<boolean> {
    return (await this.#databaseOf(ref.tenant)).barriers.hasCommitted(gid, instance);
  }

  async purgeBarriers(gids: readonly string[], ref: DbRef): Promise<void> {
    if (gids.length > 0) await (await this.#databaseOf(ref.tenant)).barriers.purge(gids);
  }

  async migrate({ tenant }: { tenant: string | undefined }): Promise<void> {
    // Nobody knows all tenants; and the one database is no tenant's.
    if (this.perTenant !== (tenant !== undefined)) return;
    try {
      await (await this.#databaseOf(tenant)).migrate();
    } catch (error) {
      throw this.#notMigrated(error);
    }
  }

  /** Removes what no purge of jobs removes: see {@link sweepBarriers}. Of the databases of tenants those that this process has used. */
  async sweep(options: SweepOptions, log: Required<Logger>): Promise<void> {
    const tenants = this.perTenant ? [...this.#byTenant.keys()] : [undefined];
    for (const tenant of tenants) {
      try {
        const { barriers, ledger } = await this.#databaseOf(tenant);
        await sweepBarriers(barriers, options);
        await sweepLedger(ledger, options);
      } catch (error) {
        log.warn('old barriers could not be removed; it is tried again in an hour', { db: this.name, tenant, error });
      }
    }
  }

  async #databaseOf(tenant: string | undefined): Promise<Database> {
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

  #notMigrated(error: unknown): unknown {
    if (SteppingError.is(error)) return error;
    const details = { name: this.name, cause: error };
    if (isDefiniteRefusal(error)) {
      return new SteppingError(
        'STORE_REFUSED',
        `The database '${this.name}' refused to make its tables: ${error}. Give its user the right to create tables, or apply steppingBarrierMigrations() yourself.`,
        details,
      );
    }
    return new SteppingError('STORE_UNAVAILABLE', `The database '${this.name}' cannot be reached: ${error}. Nothing was started.`, details);
  }
}
