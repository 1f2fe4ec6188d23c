import { type Dialect, dialectOf, type Migrations, type QuotedName, qualified, schemaOf, toTypeormMigrations } from '@stepping/typeorm';
import type { DataSource, MigrationInterface } from 'typeorm';
import { createBarrierTable } from './sql/create-barrier-table.js';
import { indexEffects } from './sql/index-effects.js';

/** Where the barriers of a database are. */
export interface BarrierTable {
  readonly dialect: Dialect;
  readonly name: QuotedName;
}

const TABLE = 'stepping_barrier';

/** The barrier table of this DataSource's database, named with its schema: a changed `search_path` leads nowhere else. */
export function barrierTableOf(dataSource: DataSource): BarrierTable {
  const dialect = dialectOf(dataSource);
  return { dialect, name: qualified(dialect, schemaOf(dataSource), TABLE) };
}

export const barrierMigrations: Migrations = {
  owner: 'barrier',
  recordTable: 'stepping_migration',
  list: [
    {
      version: 1,
      name: 'CreateBarrierTable',
      statements: ({ dialect, table }) => [createBarrierTable({ dialect, name: table(TABLE) })],
    },
    {
      version: 2,
      name: 'IndexEffects',
      statements: ({ dialect, table }) => [indexEffects({ dialect, name: table(TABLE) })],
    },
  ],
};

/**
 * The barrier table as TypeORM migrations, for those who apply all schema changes themselves. Add them to your DataSource's `migrations` and run them before
 * the first `stepping.start()`, which then changes nothing.
 *
 * @example new DataSource({ …, migrations: [...myMigrations, ...steppingBarrierMigrations()] })
 */
export function steppingBarrierMigrations(): (new () => MigrationInterface)[] {
  return toTypeormMigrations(barrierMigrations);
}
