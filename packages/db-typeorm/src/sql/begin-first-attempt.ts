import type { Table } from '../tables.js';
import { inMs } from './clock.js';

/** MySQL: counts and begins the first attempt of a step. It fails where there is a row. Values: gid, instance, step, generation, token, lease in ms. */
export function beginFirstAttempt({ dialect, name }: Table): string {
  return `
    insert into ${name} (gid, instance, step, generation, state, attempts, token, held, due_at)
    values (?, ?, ?, ?, 'open', 1, ?, 1, ${inMs(dialect, '?')})`;
}
