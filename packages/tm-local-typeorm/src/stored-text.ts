import type { DbRef } from '@stepping/core';
import type { StoredError } from '@stepping/tm-local';

export function dbToText(db: DbRef | undefined): string | null {
  return db === undefined ? null : JSON.stringify(db);
}

/** A text that is none of ours is no database: one unreadable row must not stop the claims of a whole queue. */
export function dbFromText(text: string | null): DbRef | undefined {
  try {
    return text === null ? undefined : (JSON.parse(text) as DbRef);
  } catch {
    return undefined;
  }
}

/** A JSON array of texts, one a database, so that any database can add to it without knowing what is in them. Null: none. */
export function dbsToText(dbs: readonly DbRef[] | undefined): string | null {
  if (dbs === undefined || dbs.length === 0) return null;
  // Always in the same order: the same database is the same text.
  return JSON.stringify(dbs.map(({ provider, name, tenant }) => dbToText({ provider, name, ...(tenant === undefined ? {} : { tenant }) })));
}

export function dbsFromText(text: string | null): readonly DbRef[] {
  return text === null ? [] : Array.from(new Set(JSON.parse(text) as string[]), (db) => JSON.parse(db) as DbRef);
}

export function errorToText(error: StoredError | undefined): string | null {
  return error === undefined ? null : JSON.stringify({ name: error.name, message: error.message });
}

export function errorFromText(text: string | null): StoredError | undefined {
  return text === null ? undefined : (JSON.parse(text) as StoredError);
}
