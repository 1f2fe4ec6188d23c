import type { BoundedClaim } from '@stepping/core/db';
import type { Table } from '../tables.js';
import { inMs, now } from './clock.js';
import { mayBegin } from './may-begin.js';

/** MySQL: counts and begins an attempt of a step that has a row, if it may. It sets one after the other, so that the columns which say what was are set last. */
export function beginAttemptAgain({ dialect, name }: Table): string {
  return `
    update ${name} set
      attempts = case when generation < ? then 1 when token = ? then attempts else attempts + 1 end,
      interval_ms = case when generation = ? then interval_ms end,
      generation = ?, state = 'open', token = ?, held = 1, due_at = ${inMs(dialect, '?')}
    where gid = ? and instance = ? and step = ? and ${mayBegin('', now(dialect), '?', '?', '?')}`;
}

/** Its values. */
export function valuesOfAgain({ gid, instance, position, generation, token, leaseMs, maxAttempts }: BoundedClaim): readonly unknown[] {
  const set = [generation, token, generation, generation, token, leaseMs];
  return [...set, gid, instance, position, generation, token, token, maxAttempts, generation];
}
