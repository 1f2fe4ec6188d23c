import { SteppingError } from '@stepping/core';
import { dialectOf, driverErrorOf, sqliteConnectionOf } from '@stepping/typeorm';
import type { DataSource } from 'typeorm';
import { BARRIER, LEDGER } from './tables.js';

/** "No such table", as the servers say it; of our own statements it can only be a table of ours. */
const NO_SUCH_TABLE: readonly unknown[] = ['42P01', 'ER_NO_SUCH_TABLE'];

const LACKS = {
  [BARRIER]: 'no table of barriers, so nothing can be tied to its transactions',
  [LEDGER]: 'no ledger, so no attempts can be counted in it',
};

/** What to do where a statement failed because its table was never made, as in a tenant's database that is new; any other error as it is. */
export function explained(error: unknown, dataSource: DataSource, table: keyof typeof LACKS): unknown {
  const { code } = (driverErrorOf(error) ?? {}) as { code?: unknown };
  if (!NO_SUCH_TABLE.includes(code) && !(code === 'SQLITE_ERROR' && !hasTable(dataSource, table))) return error;
  return new SteppingError(
    'STORE_REFUSED',
    `This database has ${LACKS[table]}. Run stepping.migrate(), for the database of a tenant stepping.migrate({ tenant }), or apply steppingBarrierMigrations(); once, before it is used.`,
    { cause: error },
  );
}

function hasTable(dataSource: DataSource, table: string): boolean {
  if (dialectOf(dataSource) !== 'sqlite') return true;
  const select = `select 1 from sqlite_master where type = 'table' and name = ?`;
  return sqliteConnectionOf(dataSource).prepare(select).get(table) !== undefined;
}
