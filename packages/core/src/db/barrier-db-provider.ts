import type { DbRef, InDoubtAnswer } from '../db-transaction.js';
import type { Logger } from '../logger.js';
import type { StepLedger } from '../step-ledger.js';
import { SteppingError } from '../stepping-error.js';
import { type DbPluginOptions, DEFAULT_RETENTION_MS, type DrivenDbProvider } from './db-plugin.js';
import { ledgerOver } from './ledger-over.js';
import type { LedgerTable } from './ledger-table.js';
import { type SweepOptions, type SweptBarriers, sweepBarriers, sweepLedger } from './sweep.js';
import { within } from './within.js';

/** `resolve` of a database per tenant is code of the user, which may ask a directory for the tenant's credentials. Unit: ms. */
const RESOLVE_TIMEOUT_MS = 5_000;
/** One question with all that belongs to it: resolving, connecting, waiting for others that ask, waiting for a lock. Far below the lease of the job that it is about. Unit: ms. */
const QUESTION_TIMEOUT_MS = 15_000;

/** The barriers of one database, asked outside of any transaction of the user's. */
export interface Barriers extends SweptBarriers {
  /** See `DbProvider.resolveInDoubt`; rejects where that is `unknown`. */
  resolveInDoubt(gid: string, instance: string): Promise<InDoubtAnswer>;
  hasCommitted(gid: string, instance: string): Promise<boolean>;
  purge(gids: readonly string[]): Promise<void>;
}

/** What is ours in one database of the user's. */
export interface BarrierDatabase {
  readonly barriers: Barriers;
  readonly ledger: LedgerTable;
  migrate(): Promise<void>;
}

/** `Handle` is what the user gives for a database: a DataSource, a connection. */
export interface BarrierDbOptions<Handle> extends DbPluginOptions {
  readonly resolve?: ((tenant: string) => Handle | Promise<Handle>) | undefined;
}

/** A db provider over one database, or one per tenant. A db package says how its databases are found, and what their errors mean. */
export abstract class BarrierDbProvider<Handle, D extends BarrierDatabase> implements DrivenDbProvider {
  abstract readonly provider: string;
  readonly name: string;
  /** One database per tenant, instead of one. */
  readonly perTenant: boolean;
  readonly ledger: StepLedger;
  readonly #resolve: BarrierDbOptions<Handle>['resolve'];
  readonly #tenants = new Set<string>();
  readonly #unreachable = new Set<string | undefined>();

  constructor({ name = 'default', resolve, barrierRetentionMs = DEFAULT_RETENTION_MS }: BarrierDbOptions<Handle>) {
    this.name = name;
    this.perTenant = resolve !== undefined;
    this.#resolve = resolve;
    this.ledger = ledgerOver(barrierRetentionMs, async ({ tenant }) => (await this.databaseOf(tenant)).ledger);
  }

  abstract start(): Promise<void>;
  abstract close(): void | Promise<void>;
  /** The same one each time, as long as the user gives the same handle. Whatever `resolve` throws passes. */
  protected abstract find(tenant: string | undefined): Promise<D>;
  /** Whether an error of a question says that the database is there: it refused, or made us wait for a lock. */
  protected abstract isThere(error: unknown, tenant: string | undefined): boolean | Promise<boolean>;
  /** Of an error of a migration that the database itself refused: what to do now. Undefined: it was not heard. */
  protected abstract refusedMigration(error: unknown): string | undefined;

  refOf(tenant: string | undefined): DbRef {
    return { provider: this.provider, name: this.name, ...(this.perTenant && tenant !== undefined ? { tenant } : {}) };
  }

  /** What is ours in the database, which is swept from now on. */
  async databaseOf(tenant: string | undefined): Promise<D> {
    const database = await this.find(tenant);
    if (tenant !== undefined && this.perTenant) this.#tenants.add(tenant);
    return database;
  }

  async resolveInDoubt(gid: string, instance: string, { tenant }: DbRef): Promise<InDoubtAnswer> {
    try {
      const ask = async () => (await this.databaseOf(tenant)).barriers.resolveInDoubt(gid, instance);
      const answer = await within(QUESTION_TIMEOUT_MS, `A question to database '${this.name}'`, ask);
      this.#unreachable.delete(tenant);
      return answer;
    } catch (error) {
      if (await this.isThere(error, tenant)) this.#unreachable.delete(tenant);
      else this.#unreachable.add(tenant);
      return 'unknown';
    }
  }

  isReachable({ tenant }: DbRef): boolean {
    return !this.#unreachable.has(tenant);
  }

  async hasCommitted(gid: string, instance: string, { tenant }: DbRef): Promise<boolean> {
    return (await this.databaseOf(tenant)).barriers.hasCommitted(gid, instance);
  }

  async purgeBarriers(gids: readonly string[], { tenant }: DbRef): Promise<void> {
    if (gids.length > 0) await (await this.databaseOf(tenant)).barriers.purge(gids);
  }

  /** @throws {@link SteppingError} `STORE_UNAVAILABLE`, `STORE_REFUSED` */
  async migrate({ tenant }: { tenant?: string | undefined }): Promise<void> {
    // Nobody knows all tenants; and the one database is no tenant's.
    if (this.perTenant !== (tenant !== undefined)) return;
    try {
      await (await this.databaseOf(tenant)).migrate();
    } catch (error) {
      throw this.#notMigrated(error);
    }
  }

  /** Of the databases of tenants those that this process has used. */
  async sweep(options: SweepOptions, log: Required<Logger>): Promise<void> {
    for (const tenant of this.perTenant ? [...this.#tenants] : [undefined]) {
      try {
        const { barriers, ledger } = await this.databaseOf(tenant);
        await sweepBarriers(barriers, options);
        await sweepLedger(ledger, options);
      } catch (error) {
        log.warn('old barriers could not be removed; it is tried again in an hour', { db: this.name, tenant, error });
      }
    }
  }

  /**
   * What the user's `resolve` gives for a tenant.
   *
   * @throws {@link SteppingError} `DB_UNKNOWN` without a tenant
   */
  protected async resolved(tenant: string | undefined): Promise<Handle | undefined> {
    if (tenant !== undefined) {
      return within(RESOLVE_TIMEOUT_MS, `resolve('${tenant}') of database '${this.name}'`, () => this.#resolve?.(tenant));
    }
    throw new SteppingError('DB_UNKNOWN', `The database '${this.name}' is one per tenant: say which in { db: '${this.name}', tenant }.`, {
      name: this.name,
    });
  }

  #notMigrated(error: unknown): unknown {
    if (SteppingError.is(error)) return error;
    const details = { name: this.name, cause: error };
    const refused = this.refusedMigration(error);
    if (refused !== undefined) return new SteppingError('STORE_REFUSED', refused, details);
    return new SteppingError('STORE_UNAVAILABLE', `The database '${this.name}' cannot be reached: ${error}. Nothing was started.`, details);
  }
}
