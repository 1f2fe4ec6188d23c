import type { Table } from '../tables.js';
import { epochMs } from './clock.js';
import { parameter } from './parameter.js';

/** All that is known of one start of a job, by step. Values: gid, instance. */
export function selectLedger({ dialect, name }: Table): string {
  const [gid, instance] = [1, 2].map((n) => parameter(dialect, n));
  return `select step, generation, state, attempts, held, ${epochMs(dialect, 'due_at')} as due_ms, last_error from ${name} where gid = ${gid} and instance = ${instance} order by step`;
}
