/** A name that is quoted already and goes into SQL as it is. */
export type QuotedName = string & { readonly '~quoted': true };

/** Quotes an identifier, for PostgreSQL and SQLite alike. */
export function quoteName(name: string): QuotedName {
  return `"${name.replaceAll('"', '""')}"` as QuotedName;
}

/** A table with its schema: the `search_path` of a user's connection must never decide which of our tables is meant. SQLite has no schema. */
export function qualified(schema: string | undefined, name: string): QuotedName {
  return schema === undefined ? quoteName(name) : (`${quoteName(schema)}.${quoteName(name)}` as QuotedName);
}
