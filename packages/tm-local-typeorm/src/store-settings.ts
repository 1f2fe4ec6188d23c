import { SteppingError } from '@stepping/core';
import { dialectOf, type Migrations, type QuotedName, qualified } from '@stepping/typeorm';
import type { DataSource } from 'typeorm';
import { storeMigrations } from './migrations.js';

/** What a store was configured with. */
export interface StoreSettings {
  readonly dataSource: DataSource;
  /** PostgreSQL; on MySQL the database. Undefined: that of the DataSource. */
  readonly schema: string | undefined;
  readonly tablePrefix: string;
  /** Whether `start()` migrates; else it only checks. */
  readonly migrate: boolean;
}

/** The table of jobs, with its schema. */
export function jobTable({ dataSource, tablePrefix }: StoreSettings, schema: string | undefined): QuotedName {
  return qualified(dialectOf(dataSource), schema, `${tablePrefix}job`);
}

export function migrationsOf({ schema, tablePrefix }: StoreSettings): Migrations {
  return storeMigrations({ schema, tablePrefix });
}

/** The user connects, we do not: a DataSource that is initialized by us could be initialized by them once more. */
export function assertInitialized({ dataSource }: StoreSettings): void {
  if (dataSource.isInitialized) return;
  throw new SteppingError(
    'CONFIG_INVALID',
    'The DataSource given to typeormStore() is not connected yet. Call `await dataSource.initialize()` before `await stepping.start()`.',
  );
}
