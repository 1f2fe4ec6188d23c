import type { DataSource } from 'typeorm';
import { dialectOf } from './dialect.js';

/**
 * The schema where our tables of this DataSource are. PostgreSQL: the one of its options, else the first of its search path. MySQL: its database. Both are known once it is
 * connected. Undefined on SQLite.
 */
export function schemaOf(dataSource: DataSource): string | undefined {
  const dialect = dialectOf(dataSource);
  if (dialect === 'sqlite') return undefined;
  const { driver, options } = dataSource;
  if (dialect === 'mysql') return driver.database ?? undefined;
  return (options as { schema?: string }).schema ?? driver.schema ?? undefined;
}
