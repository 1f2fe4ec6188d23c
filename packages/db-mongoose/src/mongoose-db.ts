import { DbProviders, Log, type Resolver, SteppingError, type SteppingPlugin, TransactionManager } from '@stepping/core';
import type { Connection } from 'mongoose';
import { MongooseDbProvider } from './mongoose-db-provider.js';

const HOUR_MS = 3_600_000;
const MIN_RETENTION_MS = HOUR_MS;
const DEFAULT_RETENTION_MS = 30 * 24 * HOUR_MS;
/** A process that lives shorter than an hour sweeps, too. Unit: ms. */
const FIRST_SWEEP_MS = 60_000;

/** One database, by its connection, or one per tenant, by a function. */
export type MongooseDbOptions = OneDatabase | DatabasePerTenant;

interface BarrierOptions {
  /**
   * How long a key that {@link once} received is remembered: longer than its senders repeat it. Barriers of steps go with their jobs, and by age only where a job is gone
   * without them: after a year, or after this if it is longer. Removed once an hour. Default 30 days, at least 1 hour. Unit: ms.
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
 * Makes a MongoDB database known whose transactions jobs are tied to: {@link inTransaction}, {@link mongooseTransaction}. Its collection `stepping_barrier` is made by `stepping.start()` and
 * `stepping.migrate()`, for a tenant by `stepping.migrate({ tenant })` alone.
 *
 * Every database needs a processor that knows it, by the same name: it asks there what became of a transaction whose process died.
 *
 * `stepping.start()` then throws {@link SteppingError} `STORE_UNAVAILABLE` if the server is down; `STORE_REFUSED` if it is a standalone one, which has no transactions, refuses the collection or has
 * one that cannot keep barriers; `CONFIG_INVALID` for a connection that is not connected, or a name that is taken.
 *
 * @example createStepping({ steps, tm: localTm({ store: mongooseStore({ connection }) }), use: [mongooseDb({ connection })] })
 */
export function mongooseDb(options: MongooseDbOptions): SteppingPlugin {
  const { name = 'default', barrierRetentionMs = DEFAULT_RETENTION_MS } = options;
  if (!(barrierRetentionMs >= MIN_RETENTION_MS)) {
    throw new SteppingError(
      'CONFIG_INVALID',
      `mongooseDb({ barrierRetentionMs: ${barrierRetentionMs} }): it is in milliseconds, and at least an hour.`,
      { barrierRetentionMs },
    );
  }
  const sweeps = new WeakMap<DbProviders, () => void>();
  const started = new WeakMap<DbProviders, MongooseDbProvider>();
  return {
    name: `mongooseDb(${name})`,
    async start(resolver) {
      const provider = new MongooseDbProvider(options);
      const known = resolver.resolve(DbProviders);
      known.add(provider);
      started.set(known, provider);
      await provider.start();
      sweeps.set(known, sweepHourly(resolver, provider, barrierRetentionMs));
    },
    async migrate(resolver, { tenant }) {
      const running = started.get(resolver.resolve(DbProviders));
      await (running ?? new MongooseDbProvider(options)).migrate({ tenant });
    },
    stop(resolver) {
      const known = resolver.resolve(DbProviders);
      sweeps.get(known)?.();
      started.get(known)?.close();
    },
  };
}

/** Returns what ends it. Holds no process open. */
function sweepHourly(resolver: Resolver, provider: MongooseDbProvider, retentionMs: number): () => void {
  let ended = false;
  let timer: NodeJS.Timeout;
  const after = (ms: number) => {
    timer = setTimeout(async () => {
      const hasJob = async (gid: string) => (await resolver.resolve(TransactionManager).find(gid)) !== undefined;
      await provider.sweep({ retentionMs, hasJob }, resolver.resolve(Log));
      if (!ended) after(HOUR_MS);
    }, ms).unref();
  };
  after(FIRST_SWEEP_MS);
  return () => {
    ended = true;
    clearTimeout(timer);
  };
}
