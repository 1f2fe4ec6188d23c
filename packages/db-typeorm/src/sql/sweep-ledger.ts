import type { Table } from '../tables.js';
import { msAgo } from './clock.js';
import { parameter } from './parameter.js';

/** Deletes rows that were due, or ended, long enough ago: what is held or waits is due later. Values: age in ms, limit. */
export function sweepLedger({ dialect, name }: Table): string {
  const old = `due_at < ${msAgo(dialect, parameter(dialect, 1))}`;
  if (dialect === 'mysql') return `delete from ${name} where ${old} limit ?`;
  const keys = `select gid, instance, step from ${name} where ${old} limit ${parameter(dialect, 2)}`;
  // Somebody may have begun an attempt since the select.
  const still = dialect === 'postgres' ? ` and ${old}` : '';
  return `delete from ${name} where (gid, instance, step) in (${keys})${still}`;
}
