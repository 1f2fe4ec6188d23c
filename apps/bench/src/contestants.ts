import type { Contestant } from './contestant.js';
import { plainPostgres } from './plain-postgres.js';
import { plainSqlite } from './plain-sqlite.js';
import { stepping } from './stepping.js';

export type DatabaseKind = 'PostgreSQL' | 'SQLite';
export type ContestantName = 'stepping' | 'plain';

/** By database: Stepping, and the plain loop that it is measured against. */
export const CONTESTANTS: Record<DatabaseKind, Record<ContestantName, Contestant>> = {
  PostgreSQL: { stepping: stepping((url) => ({ type: 'postgres', url })), plain: plainPostgres },
  SQLite: { stepping: stepping((database) => ({ type: 'better-sqlite3', database })), plain: plainSqlite },
};
