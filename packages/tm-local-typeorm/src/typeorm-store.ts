import { SteppingError } from '@stepping/core';
import { Store, type StorePlugin, type TransactionStore } from '@stepping/tm-local';
import { type Dialect, dialectOf, SUPPORTED_TYPES } from '@stepping/typeorm';
import type { DataSource } from 'typeorm';
import { type StoreSchemaOptions, TABLE_PREFIX } from './migrations.js';
import { MysqlStore } from './mysql/mysql-store.js';
import { PostgresStore } from './postgres/postgres-store.js';
import { SqliteStore } from './sqlite/sqlite-store.js';
import type { StoreSettings } from './store-settings.js';

/** Where {@link typeormStore} keeps its jobs. */
export interface TypeormStoreOptions extends StoreSchemaOptions {
  /**
   * A connected DataSource of type `postgres`, `mariadb`, `mysql` or `better-sqlite3` (a file). The store opens a few connections of its own to the same database, so it never takes one of the
   * application's pool. Business transactions of this very DataSource are committed together with their jobs.
   */
  readonly dataSource: DataSource;
  /** Whether `stepping.start()` creates and upgrades the tables. Default true; false: it only checks them, and `stepping.migrate()` or TypeORM migrations change them. */
  readonly migrate?: boolean | undefined;
}

/**
 * Keeps the jobs of the local TM in the application's own database: PostgreSQL, MariaDB, MySQL or a SQLite file, through TypeORM.
 * What can be wrong with it is reported by `stepping.start()`: `CONFIG_INVALID` (the DataSource is not initialized), `STORE_REFUSED` (another kind of database, SQLite in memory, a
 * schema that is newer or, with `migrate: false`, older than this release), `STORE_UNAVAILABLE` (it cannot be reached).
 *
 * @example createStepping({ steps, tm: localTm({ store: typeormStore({ dataSource }), processor: hostedProcessor() }) })
 */
export function typeormStore(options: TypeormStoreOptions): StorePlugin {
  const { dataSource, schema, tablePrefix = TABLE_PREFIX, migrate = true } = options;
  return {
    name: 'tm-local-typeorm',
    provides: 'store',
    register: (registry) => registry.provide(Store, () => openStore({ dataSource, schema, tablePrefix, migrate })),
  };
}

/** The store of each database. */
const STORES: Record<Dialect, (settings: StoreSettings) => TransactionStore> = {
  sqlite: (settings) => new SqliteStore(settings),
  postgres: (settings) => new PostgresStore(settings),
  mysql: (settings) => new MysqlStore(settings),
};

function openStore(settings: StoreSettings): TransactionStore {
  return STORES[supportedDialect(settings.dataSource)](settings);
}

function supportedDialect(dataSource: DataSource): Dialect {
  try {
    return dialectOf(dataSource);
  } catch (cause) {
    throw new SteppingError(
      'STORE_REFUSED',
      `typeormStore() cannot keep jobs in a database of type '${dataSource.options.type}'. Use a DataSource of type ${SUPPORTED_TYPES}.`,
      { cause },
    );
  }
}
