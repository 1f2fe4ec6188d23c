import { DbProviders, Log, type Resolver, SteppingError, type SteppingPlugin, TransactionManager } from '@stepping/core';
import type { DataSource } from 'typeorm';
import { TypeormDbProvider } from './typeorm-db-provider.js';

const HOUR_MS = 3_600_000;
const MIN_RETENTION_MS = HOUR_MS;
const DEFAULT_RETENTION_MS = 30 * 24 * HOUR_MS;
/** A process that lives shorter than an hour sweeps, too. Unit: ms. */
const FIRST_SWEEP_MS = 60_000;

/** One database, by its DataSource, or one per tenant, by a function. */
export type TypeormDbOptions = OneDatabase | DatabasePerTenant;

interface BarrierOptions {
  /**
   * How long a key that {@link once} received is remembered: longer than its senders repeat it. Barriers of steps go with their jobs, and by age only where a job is gone without
   * them: after a year, or after this if it is longer. Removed once an hour. Default 30 days, at least 1 hour. Unit: ms.
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
 * Makes a database known whose transactions jobs are tied to: {@link inTransaction}, {@link typeormTransaction}. Its table `stepping_barrier` is made by `stepping.start()` and
 * `stepping.migrate()`, for a tenant by `stepping.migrate({ tenant })` alone; or by your own migrations, see {@link steppingBarrierMigrations}.
 *
 * Every database needs a processor that knows it, by the same name: it asks there what became of a transaction whose process died.
 *
 * `stepping.start()` then throws {@link SteppingError} `STORE_UNAVAILABLE` if the database is down, `STORE_REFUSED` if it refuses the table or has a newer one, `CONFIG_INVALID` for a
 * driver that is not supported, SQLite in memory, a DataSource that is not initialized, or a name that is taken.
 *
 * @example createStepping({ steps, tm: localTm({ store: typeormStore({ dataSource }) }), use: [typeormDb({ dataSource })] })
 */
export function typeormDb(options: TypeormDbOptions): SteppingPlugin {
  const { name = 'default', barrierRetentionMs = DEFAULT_RETENTION_MS } = options;
  if (!(barrierRetentionMs >= MIN_RETENTION_MS)) {
    throw new SteppingError(
      'CONFIG_INVALID',
      `typeormDb({ barrierRetentionMs: ${barrierRetentionMs} }): it is in milliseconds, and at least an hour.`,
      {
        barrierRetentionMs,
      },
    );
  }
  const sweeps = new WeakMap<DbProviders, () => void>();
  const started = new WeakMap<DbProviders, TypeormDbProvider>();
  return {
    name: `typeormDb(${name})`,
    async start(resolver) {
      const provider = new TypeormDbProvider(options);
      const known = resolver.resolve(DbProviders);
      known.add(provider);
      started.set(known, provider);
      await provider.start();
      sweeps.set(known, sweepHourly(resolver, provider, barrierRetentionMs));
    },
    async migrate(resolver, { tenant }) {
      const running = started.get(resolver.resolve(DbProviders));
      if (running) return running.migrate({ tenant });
      const provider = new TypeormDbProvider(options);
      await provider.migrate({ tenant }).finally(() => provider.close());
    },
    async stop(resolver) {
      const known = resolver.resolve(DbProviders);
      sweeps.get(known)?.();
      await started.get(known)?.close();
    },
  };
}

/** Returns what ends it. Holds no process open. */
function sweepHourly(resolver: Resolver, provider: TypeormDbProvider, retentionMs: number): () => void {
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
