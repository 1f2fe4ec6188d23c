import type { Table } from '../tables.js';
import { boundedWait } from './bounded-wait.js';
import { inMs } from './clock.js';
import { parameter } from './parameter.js';

/**
 * Ends an attempt. Values: state, attempts not to be counted, ms until due, interval in ms, error (the last two null where they stay), gid, instance, step, token. Rows: 1 if it held the
 * step, else 0.
 */
export function endAttempt({ dialect, name }: Table): string {
  const [state, uncounted, due, interval, error, gid, instance, step, token] = [1, 2, 3, 4, 5, 6, 7, 8, 9].map((n) =>
    parameter(dialect, n),
  );
  return `
    update ${name} set state = ${state}, attempts = attempts - ${uncounted}, held = 0, due_at = ${inMs(dialect, `${due}`)},
      interval_ms = coalesce(${interval}, interval_ms), last_error = coalesce(${error}, last_error)${boundedWait(dialect)}
    where gid = ${gid} and instance = ${instance} and step = ${step} and token = ${token} and held = 1`;
}
