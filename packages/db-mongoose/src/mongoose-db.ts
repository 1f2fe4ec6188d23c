import type { SteppingPlugin } from '@stepping/core';
import { dbPlugin } from '@stepping/core/db';
import type { Connection } from 'mongoose';
import { MongooseDbProvider } from './mongoose-db-provider.js';

/** One database, by its connection, or one per tenant, by a function. */
export type MongooseDbOptions = OneDatabase | DatabasePerTenant;

interface BarrierOptions {
  /**
   * How long a key that {@link once} received is remembered: longer than its senders repeat it. Barriers of steps go with their jobs, and by age only where a job is gone
   * without them: after a year, or after this if it is longer. Also how long the ledger remembers a step of an external transaction manager (DTM) after its last change: longer than that keeps its jobs. Removed once an hour. Default 30 days, at least 1 hour. Unit: ms.
   */
  readonly barrierRetentionMs?: number | undefined;
}

export interface OneDatabase extends BarrierOptions {
  /** Default: `'default'`. Stored in every prepared job, so it never changes. */
  readonly name?: string | undefined;
  /** Connected before `stepping.start()`, and still yours: we never close it. */
  readonly connection: Connection;
  readonly resolve?: undefined;
}

export interface DatabasePerTenant extends BarrierOptions {
  /** Stored in every prepared job, so it never changes. */
  readonly name: string;
  /**
   * The tenant's connection, connected; `connection.useDb(tenant, { useCache: true })` is one. Called for every question, so keep it in a map; also after a restart, when the outcome of an old
   * transaction is asked. One that throws, or does not answer in 5 s, is a database that is down: its jobs wait, those of the others do not.
   */
  readonly resolve: (tenant: string) => Connection | Promise<Connection>;
  readonly connection?: undefined;
}

/**
 * Makes a MongoDB database known whose transactions jobs are tied to: {@link inTransaction}, {@link mongooseTransaction}. Its collections `stepping_barrier` and `stepping_ledger` are made by `stepping.start()` and
 * `stepping.migrate()`, for a tenant by `stepping.migrate({ tenant })` alone.
 *
 * Every database needs a processor that knows it, by the same name: it asks there what became of a transaction whose process died.
 *
 * `stepping.start()` then throws {@link SteppingError} `STORE_UNAVAILABLE` if the server is down; `STORE_REFUSED` if it is a standalone one, which has no transactions, refuses the collections or has
 * one that cannot keep barriers; `CONFIG_INVALID` for a connection that is not connected, or a name that is taken.
 *
 * @example createStepping({ steps, tm: localTm({ store: mongooseStore({ connection }) }), use: [mongooseDb({ connection })] })
 */
export function mongooseDb(options: MongooseDbOptions): SteppingPlugin {
  return dbPlugin('mongooseDb', options, () => new MongooseDbProvider(options));
}
