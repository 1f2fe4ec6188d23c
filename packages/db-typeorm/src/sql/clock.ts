import type { Dialect } from '@stepping/typeorm';

// The time of the ledger's rows, by the clock of the database. On SQLite it is a number: ms since 1970.

const NOW: Record<Dialect, string> = {
  // Not now(): after a wait for somebody's write it would be the time before it.
  postgres: 'clock_timestamp()',
  mysql: 'utc_timestamp(6)',
  sqlite: `cast(round(unixepoch('subsec') * 1000) as integer)`,
};

export function now(dialect: Dialect): string {
  return NOW[dialect];
}

/** So many ms (a value of the statement) from now. */
export function inMs(dialect: Dialect, value: string): string {
  return IN_MS[dialect](value);
}

const IN_MS: Record<Dialect, (value: string) => string> = {
  postgres: (value) => `${NOW.postgres} + ${value}::bigint * interval '1 ms'`,
  mysql: (value) => `${NOW.mysql} + interval ${value} * 1000 microsecond`,
  sqlite: (value) => `${NOW.sqlite} + ${value}`,
};

/** So many ms (a value of the statement) ago. */
export function msAgo(dialect: Dialect, value: string): string {
  return MS_AGO[dialect](value);
}

const MS_AGO: Record<Dialect, (value: string) => string> = {
  postgres: (value) => `${NOW.postgres} - ${value}::bigint * interval '1 ms'`,
  mysql: (value) => `${NOW.mysql} - interval ${value} * 1000 microsecond`,
  sqlite: (value) => `${NOW.sqlite} - ${value}`,
};

/** How many ms from now a time is; below 0 in the past. */
export function untilMs(dialect: Dialect, column: string): string {
  return UNTIL_MS[dialect](column);
}

const UNTIL_MS: Record<Dialect, (column: string) => string> = {
  postgres: (column) => `extract(epoch from ${column} - ${NOW.postgres}) * 1000`,
  mysql: (column) => `timestampdiff(microsecond, ${NOW.mysql}, ${column}) / 1000`,
  sqlite: (column) => `${column} - ${NOW.sqlite}`,
};

/** A time as ms since 1970. */
export function epochMs(dialect: Dialect, column: string): string {
  return EPOCH_MS[dialect](column);
}

const EPOCH_MS: Record<Dialect, (column: string) => string> = {
  postgres: (column) => `extract(epoch from ${column}) * 1000`,
  mysql: (column) => `timestampdiff(microsecond, '1970-01-01', ${column}) / 1000`,
  sqlite: (column) => column,
};
