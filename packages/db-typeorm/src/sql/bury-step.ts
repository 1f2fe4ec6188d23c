import type { Table } from '../tables.js';
import { boundedWait } from './bounded-wait.js';
import { now } from './clock.js';
import { parameter } from './parameter.js';

/**
 * Marks a step as dead that is open and due, and as it was seen. Values: new token, error (null where it stays), gid, instance, step; generation, attempts, token and held as they were seen. Rows: 1 if it
 * was so, else 0.
 */
export function buryStep({ dialect, name }: Table): string {
  const [by, error, gid, instance, step, generation, attempts, token, held] = [1, 2, 3, 4, 5, 6, 7, 8, 9].map((n) => parameter(dialect, n));
  return `
    update ${name} set state = 'dead', held = 0, due_at = ${now(dialect)}, token = ${by}, last_error = coalesce(${error}, last_error)${boundedWait(dialect)}
    where gid = ${gid} and instance = ${instance} and step = ${step} and state = 'open'
      and generation = ${generation} and attempts = ${attempts} and token = ${token} and held = ${held} and due_at <= ${now(dialect)}`;
}
