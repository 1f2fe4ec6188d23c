import type { SteppingPlugin } from '@stepping/core';
import { dbPlugin } from '@stepping/core/db';
import type { DataSource } from 'typeorm';
import { TypeormDbProvider } from './typeorm-db-provider.js';

/** One database, by its DataSource, or one per tenant, by a function. */
export type TypeormDbOptions = OneDatabase | DatabasePerTenant;

interface BarrierOptions {
  /**
   * How long a key that {@link once} received is remembered: longer than its senders repeat it. Barriers of steps go with their jobs, and by age only where a job is gone without
   * them: after a year, or after this if it is longer. Also how long the ledger remembers a step of an external transaction manager (DTM) after its last change: longer than that keeps its jobs. Removed once an hour. Default 30 days, at least 1 hour. Unit: ms.
   */
  readonly barrierRetentionMs?: number | undefined;
}

export interface OneDatabase extends BarrierOptions {
  /** Default: `'default'`. Stored in every prepared job, so it never changes. */
  readonly name?: string | undefined;
  /** Initialized before `stepping.start()`, and still yours: we never close it. */
  readonly dataSource: DataSource;
  readonly resolve?: undefined;
}

export interface DatabasePerTenant extends BarrierOptions {
  /** Stored in every prepared job, so it never changes. */
  readonly name: string;
  /**
   * The tenant's DataSource, initialized: the same object until its credentials or its place change, then a new one. Called for every question, so keep it in a map; also after
   * a restart, when the outcome of an old transaction is asked. One that throws, or does not answer in 5 s, is a database that is down: its jobs wait, those of the others do not.
   */
  readonly resolve: (tenant: string) => DataSource | Promise<DataSource>;
  readonly dataSource?: undefined;
}

/**
 * Makes a database known whose transactions jobs are tied to: {@link inTransaction}, {@link typeormTransaction}. Its tables `stepping_barrier` and `stepping_ledger` are made by `stepping.start()` and
 * `stepping.migrate()`, for a tenant by `stepping.migrate({ tenant })` alone; or by your own migrations, see {@link steppingBarrierMigrations}.
 *
 * Every database needs a processor that knows it, by the same name: it asks there what became of a transaction whose process died.
 *
 * `stepping.start()` then throws {@link SteppingError} `STORE_UNAVAILABLE` if the database is down, `STORE_REFUSED` if it refuses the tables or has newer ones, `CONFIG_INVALID` for a
 * driver that is not supported, SQLite in memory, a DataSource that is not initialized, or a name that is taken.
 *
 * @example createStepping({ steps, tm: localTm({ store: typeormStore({ dataSource }) }), use: [typeormDb({ dataSource })] })
 */
export function typeormDb(options: TypeormDbOptions): SteppingPlugin {
  return dbPlugin('typeormDb', options, () => new TypeormDbProvider(options));
}
