import type { Table } from '../tables.js';
import { boundedWait } from './bounded-wait.js';
import { inMs } from './clock.js';
import { numberParameter, parameter } from './parameter.js';

/**
 * Ends an attempt. Values: state, 1 if it does not count, ms until due, 1 if the interval stays, interval in ms, error (null where it stays), gid, instance, step, token. Rows: 1 if it held the
 * step, else 0.
 */
export function endAttempt({ dialect, name }: Table): string {
  const [state, uncounted, due, stays, interval, error, gid, instance, step, token] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map((n) =>
    n === 4 || n === 5 ? numberParameter(dialect, n) : parameter(dialect, n),
  );
  return `
    update ${name} set state = ${state}, attempts = attempts - ${uncounted}, held = 0, due_at = ${inMs(dialect, `${due}`)},
      interval_ms = case when ${stays} = 1 then interval_ms else ${interval} end, last_error = coalesce(${error}, last_error)${boundedWait(dialect)}
    where gid = ${gid} and instance = ${instance} and step = ${step} and token = ${token} and held = 1`;
}
