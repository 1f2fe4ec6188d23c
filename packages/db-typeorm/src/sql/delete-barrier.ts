import type { Table } from '../tables.js';
import { parameter } from './parameter.js';

/** Takes the barrier of a message out again. Values: gid, instance. */
export function deleteBarrier({ dialect, name }: Table): string {
  return `delete from ${name} where gid = ${parameter(dialect, 1)} and branch_id = '00' and op = 'msg' and barrier_id = ${parameter(dialect, 2)}`;
}
