import { SteppingError } from '@stepping/core';
import type { DataSource } from 'typeorm';

/** The databases that we speak; `mysql` is MariaDB, too. Each has its own statements; nothing else branches on it. */
export type Dialect = 'postgres' | 'mysql' | 'sqlite';

/** By TypeORM's name of the driver. */
const DIALECTS: Readonly<Record<string, Dialect>> = {
  postgres: 'postgres',
  mysql: 'mysql',
  mariadb: 'mysql',
  'better-sqlite3': 'sqlite',
};

/** How messages name what is supported. */
export const SUPPORTED_TYPES = "'postgres' (PostgreSQL), 'mariadb' or 'mysql' (MariaDB, MySQL) or 'better-sqlite3' (SQLite)";

/**
 * Which database a DataSource is of.
 *
 * @throws {@link SteppingError} `CONFIG_INVALID` for a driver that is not supported.
 */
export function dialectOf(dataSource: DataSource): Dialect {
  const { type } = dataSource.options;
  const dialect = Object.hasOwn(DIALECTS, type) ? DIALECTS[type] : undefined;
  if (dialect !== undefined) return dialect;
  throw new SteppingError('CONFIG_INVALID', `A DataSource of type '${type}' is not supported. Use type ${SUPPORTED_TYPES}.`, { type });
}
