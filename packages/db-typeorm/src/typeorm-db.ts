import { DbProviders, type SteppingPlugin } from '@stepping/core';
import type { DataSource } from 'typeorm';
import { TypeormDbProvider } from './typeorm-db-provider.js';

/** One database, by its DataSource, or one per tenant, by a function. */
export type TypeormDbOptions = OneDatabase | DatabasePerTenant;

export interface OneDatabase {
  /** Default: `'default'`. Stored in every prepared job, so it never changes. */
  readonly name?: string | undefined;
  /** Initialized before `stepping.start()`, and still yours: we never close it. */
  readonly dataSource: DataSource;
  readonly resolve?: undefined;
}

export interface DatabasePerTenant {
  /** Stored in every prepared job, so it never changes. */
  readonly name: string;
  /** The tenant's DataSource: always the same object for the same tenant. Also called after a restart, when the outcome of an old transaction is asked. */
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
  const name = options.name ?? 'default';
  const started = new WeakMap<DbProviders, TypeormDbProvider>();
  return {
    name: `typeormDb(${name})`,
    async start(resolver) {
      const provider = new TypeormDbProvider(options);
      const known = resolver.resolve(DbProviders);
      known.add(provider);
      started.set(known, provider);
      await provider.start();
    },
    async migrate(resolver, { tenant }) {
      const running = started.get(resolver.resolve(DbProviders));
      if (running) return running.migrate({ tenant });
      const provider = new TypeormDbProvider(options);
      await provider.migrate({ tenant }).finally(() => provider.close());
    },
    async stop(resolver) {
      await started.get(resolver.resolve(DbProviders))?.close();
    },
  };
}
