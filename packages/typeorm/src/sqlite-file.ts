import { realpathSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { type Turns, turns } from '@stepping/core';
import type { DataSource } from 'typeorm';

/** Whether it lives in memory (or in a temporary file) only: one connection, gone with it. */
export function isInMemory(dataSource: DataSource): boolean {
  const name = databaseOf(dataSource);
  return name === '' || name === ':memory:' || (name.startsWith('file:') && /:memory:|mode=memory/.test(name));
}

/** The real path of the SQLite file: whatever links and relative paths lead to it, it is one file. */
export function fileOf(dataSource: DataSource): string {
  const name = databaseOf(dataSource);
  const path = resolve(name);
  try {
    return realpathSync(path);
  } catch {
    return join(realFolder(dirname(path)), basename(path)); // it will be made when somebody connects
  }
}

/** The turns of the file: every writer of this process takes one (see `turns` of core). */
export function fileTurns(dataSource: DataSource): Turns {
  return turns(`sqlite:${fileOf(dataSource)}`);
}

// As better-sqlite3 reads it.
function databaseOf(dataSource: DataSource): string {
  return String(dataSource.options.database ?? '').trim();
}

function realFolder(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
