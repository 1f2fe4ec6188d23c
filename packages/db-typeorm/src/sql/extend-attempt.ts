import type { Table } from '../tables.js';
import { boundedWait } from './bounded-wait.js';
import { inMs } from './clock.js';
import { parameter } from './parameter.js';

/** Prolongs the hold of an attempt. Values: lease in ms, gid, instance, step, token. Rows: 1 if it holds the step, else 0. */
export function extendAttempt({ dialect, name }: Table): string {
  const [lease, gid, instance, step, token] = [1, 2, 3, 4, 5].map((n) => parameter(dialect, n)) as [string, string, string, string, string];
  return `
    update ${name} set due_at = ${inMs(dialect, lease)}${boundedWait(dialect)}
    where gid = ${gid} and instance = ${instance} and step = ${step} and token = ${token} and held = 1`;
}
