import type { Dialect } from '@stepping/typeorm';
import type { Table } from '../tables.js';
import { untilMs } from './clock.js';
import { parameter } from './parameter.js';

/** What is known of a step. Values: gid, instance, step. */
export function selectLedgerRow({ dialect, name }: Table): string {
  const [gid, instance, step] = [1, 2, 3].map((n) => parameter(dialect, n));
  return `select ${ledgerRow(dialect)} from ${name} where gid = ${gid} and instance = ${instance} and step = ${step}`;
}

/** The columns of a row as it is now. */
export function ledgerRow(dialect: Dialect): string {
  return `generation, state, attempts, token, held, ${untilMs(dialect, 'due_at')} as due_in_ms, interval_ms`;
}
