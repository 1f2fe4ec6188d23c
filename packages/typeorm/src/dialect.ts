import { SteppingError } from '@stepping/core';
import type { DataSource } from 'typeorm';

/** The databases that we speak. Each has its own statements; nothing else branches on it. */
export type Dialect = 'postgres' | 'sqlite';

/**
 * Which database a DataSource is of.
 *
 * @throws {@link SteppingError} `CONFIG_INVALID` for a driver that is not supported.
 */
export function dialectOf(dataSource: DataSource): Dialect {
  const { type } = dataSource.options;
  if (type === 'postgres') return 'postgres';
  if (type === 'better-sqlite3') return 'sqlite';
  throw new SteppingError(
    'CONFIG_INVALID',
    `A DataSource of type '${type}' is not supported. Use type 'postgres' (PostgreSQL) or 'better-sqlite3' (SQLite).`,
    { type },
  );
}
