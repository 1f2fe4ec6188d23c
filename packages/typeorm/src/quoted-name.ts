import type { Dialect } from './dialect.js';

/** A name that is quoted already and goes into SQL as it is. */
export type QuotedName = string & { readonly '~quoted': true };

/** Quotes an identifier. */
export function quoteName(dialect: Dialect, name: string): QuotedName {
  // MySQL takes double quotes only where the mode of the connection says so.
  const quote = dialect === 'mysql' ? '`' : '"';
  return `${quote}${name.replaceAll(quote, quote + quote)}${quote}` as QuotedName;
}

/**
 * A table with its schema, which is the database on MySQL: the `search_path` or current database of a user's connection must never decide which of our tables is
 * meant. SQLite has no schema.
 */
export function qualified(dialect: Dialect, schema: string | undefined, name: string): QuotedName {
  const quoted = quoteName(dialect, name);
  return schema === undefined ? quoted : (`${quoteName(dialect, schema)}.${quoted}` as QuotedName);
}
