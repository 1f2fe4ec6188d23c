import { type Dialect, dialectOf, type QuotedName, qualified, schemaOf } from '@stepping/typeorm';
import type { DataSource } from 'typeorm';

/** A table of ours in a database of the user's. */
export interface Table {
  readonly dialect: Dialect;
  readonly name: QuotedName;
}

export const BARRIER = 'stepping_barrier';
export const LEDGER = 'stepping_ledger';

/** The barrier table of this DataSource's database, named with its schema: a changed `search_path` leads nowhere else. */
export function barrierTableOf(dataSource: DataSource): Table {
  return tableOf(dataSource, BARRIER);
}

/** The table of the ledger, likewise. */
export function ledgerTableOf(dataSource: DataSource): Table {
  return tableOf(dataSource, LEDGER);
}

function tableOf(dataSource: DataSource, name: string): Table {
  const dialect = dialectOf(dataSource);
  return { dialect, name: qualified(dialect, schemaOf(dataSource), name) };
}
