import type { DataSource } from 'typeorm';
import { dialectOf } from './dialect.js';

/**
 * The schema where our tables of this DataSource are: the one of its options, else the first of its search path, which is known once it is
 * connected. Undefined on SQLite.
 */
export function schemaOf(dataSource: DataSource): string | undefined {
  if (dialectOf(dataSource) === 'sqlite') return undefined;
  const { schema } = dataSource.options as { schema?: string };
  return schema ?? dataSource.driver.schema ?? undefined;
}
