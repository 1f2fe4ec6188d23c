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
import type { Connection } from 'mongoose';
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

/** `resolve` of a database per tenant is code of the user, which may ask a directory for the tenant's credentials. Unit: ms. */
const RESOLVE_TIMEOUT_MS = 5_000;
/** One question with all that belongs to it: resolving, waiting for others that ask, waiting for a lock. Far below the lease of the job that it is about. Unit: ms. */
const QUESTION_TIMEOUT_MS = 15_000;

export class MongooseDbProvider implements DrivenDbProvider {
  readonly provider = PROVIDER;
  readonly name: string;
  /** One database per tenant, instead of one. */
  readonly perTenant: boolean;
  readonly ledger: StepLedger;
  readonly #options: MongooseDbOptions;
  /** A connection with other credentials is another one. */
  readonly #barriers = new WeakMap<Connection, Barriers>();
  readonly #tenants = new Set<string>();
  readonly #unreachable = new Set<string | undefined>();

  constructor(options: MongooseDbOptions) {
    this.name = options.name ?? 'default';
    this.perTenant = options.resolve !== undefined;
    this.#options = options;
    this.ledger = ledgerOver(
      options.barrierRetentionMs ?? DEFAULT_RETENTION_MS,
      async ({ tenant }) => new Ledger((await this.barriersOf(tenant)).connection),
    );
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

  refOf(tenant: string | undefined): DbRef {
    return { provider: PROVIDER, name: this.name, ...(this.perTenant && tenant !== undefined ? { tenant } : {}) };
  }

  /**
   * The user's connection.
   *
   * @throws {@link SteppingError} `DB_UNKNOWN` without a tenant where one is needed, `STORE_UNAVAILABLE` if it is not connected; and whatever `resolve` throws.
   */
  async connectionOf(tenant: string | undefined): Promise<Connection> {
    const connection = this.#options.connection ?? (await this.#resolve(tenant));
    if (connection !== undefined && isOpen(connection)) return connection;
    const what = this.perTenant ? `resolve('${tenant}') of database '${this.name}' gave` : `Database '${this.name}' has`;
    throw new SteppingError(
      'STORE_UNAVAILABLE',
      `${what} ${connection ? 'a connection that is closed, or was never connected' : 'no connection'}. Nothing was written; connect it and try again.`,
      { name: this.name, tenant },
    );
  }

  async resolveInDoubt(gid: string, instance: string, { tenant }: DbRef): Promise<InDoubtAnswer> {
    try {
      const ask = async () => (await this.barriersOf(tenant)).resolveInDoubt(gid, instance);
      const answer = await within(QUESTION_TIMEOUT_MS, `A question to database '${this.name}'`, ask);
      this.#unreachable.delete(tenant);
      return answer;
    } catch (error) {
      if (isAnswer(error)) this.#unreachable.delete(tenant);
      else await this.#look(tenant);
      return 'unknown';
    }
  }

  isReachable({ tenant }: DbRef): boolean {
    return !this.#unreachable.has(tenant);
  }

  async hasCommitted(gid: string, instance: string, { tenant }: DbRef): Promise<boolean> {
    return (await this.barriersOf(tenant)).hasCommitted(gid, instance);
  }

  async purgeBarriers(gids: readonly string[], { tenant }: DbRef): Promise<void> {
    if (gids.length > 0) await (await this.barriersOf(tenant)).purge(gids);
  }

  async migrate({ tenant }: { tenant: string | undefined }): Promise<void> {
    // Nobody knows all tenants; and the one database is no tenant's.
    if (this.perTenant !== (tenant !== undefined)) return;
    try {
      await (await this.barriersOf(tenant)).migrate();
      await migrateLedger(await this.connectionOf(tenant));
    } catch (error) {
      throw this.#notMigrated(error);
    }
  }

  /** Removes what no purge of jobs removes: see {@link sweepBarriers}. Of the databases of tenants those that this process has used. */
  async sweep(options: SweepOptions, log: Required<Logger>): Promise<void> {
    for (const tenant of this.perTenant ? this.#tenants : [undefined]) {
      try {
        const barriers = await this.barriersOf(tenant);
        await sweepBarriers(barriers, options);
        await sweepLedger(new Ledger(barriers.connection), options);
      } catch (error) {
        log.warn('old barriers could not be removed; it is tried again in an hour', { db: this.name, tenant, error });
      }
    }
  }

  async barriersOf(tenant: string | undefined): Promise<Barriers> {
    const connection = await this.connectionOf(tenant);
    if (tenant !== undefined) this.#tenants.add(tenant);
    const known = this.#barriers.get(connection);
    if (known !== undefined) return known;
    const barriers = new Barriers(connection);
    this.#barriers.set(connection, barriers);
    return barriers;
  }

  /** We gave up waiting: for a transaction, which a server that is there explains, or for the server. */
  async #look(tenant: string | undefined): Promise<void> {
    try {
      await (await this.barriersOf(tenant)).hasEffect('~');
      this.#unreachable.delete(tenant);
    } catch {
      this.#unreachable.add(tenant);
    }
  }

  async #resolve(tenant: string | undefined): Promise<Connection | undefined> {
    const { resolve } = this.#options;
    if (tenant !== undefined) return within(RESOLVE_TIMEOUT_MS, `resolve('${tenant}') of database '${this.name}'`, () => resolve?.(tenant));
    throw new SteppingError('DB_UNKNOWN', `The database '${this.name}' is one per tenant: say which in { db: '${this.name}', tenant }.`, {
      name: this.name,
    });
  }

  #notMigrated(error: unknown): unknown {
    if (SteppingError.is(error)) return error;
    const details = { name: this.name, cause: error };
    if (codeOf(error) !== undefined) {
      return new SteppingError(
        'STORE_REFUSED',
        `The database '${this.name}' refused to make its collections: ${error}. Give its user the role readWrite on it.`,
        details,
      );
    }
    return new SteppingError('STORE_UNAVAILABLE', `The database '${this.name}' cannot be reached: ${error}. Nothing was started.`, details);
  }
}
