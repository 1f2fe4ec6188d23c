import type { Table } from '../tables.js';
import { parameter } from './parameter.js';

/** Who claimed the barrier of a message: `reason` is `'msg'` or `'rollback'`. Values: gid, instance. */
export function selectReason({ dialect, name }: Table): string {
  return `select reason from ${name} where gid = ${parameter(dialect, 1)} and branch_id = '00' and op = 'msg' and barrier_id = ${parameter(dialect, 2)}`;
}
