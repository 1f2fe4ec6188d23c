import { SteppingError } from '@stepping/core';
import { dialectOf, driverErrorOf, sqliteConnectionOf } from '@stepping/typeorm';
import type { QueryRunner } from 'typeorm';

/** "No such table", as the servers say it; of our own statements it can only be the table of barriers. */
const NO_SUCH_TABLE: readonly unknown[] = ['42P01', 'ER_NO_SUCH_TABLE'];

/** What to do where a barrier could not be inserted because its table was never made, as in a tenant's database that is new; any other error as it is. */
export function explained(error: unknown, runner: QueryRunner): unknown {
  const { code } = (driverErrorOf(error) ?? {}) as { code?: unknown };
  if (!NO_SUCH_TABLE.includes(code) && !(code === 'SQLITE_ERROR' && !hasTable(runner))) return error;
  return new SteppingError(
    'STORE_REFUSED',
    'This database has no table of barriers, so nothing can be tied to its transactions. Run stepping.migrate(), for the database of a tenant stepping.migrate({ tenant }), or apply steppingBarrierMigrations(); once, before it is used.',
    { cause: error },
  );
}

function hasTable({ dataSource }: QueryRunner): boolean {
  if (dialectOf(dataSource) !== 'sqlite') return true;
  const select = `select 1 from sqlite_master where type = 'table' and name = 'stepping_barrier'`;
  return sqliteConnectionOf(dataSource).prepare(select).get() !== undefined;
}
