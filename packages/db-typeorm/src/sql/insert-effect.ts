import type { Table } from '../tables.js';
import { onConflict, parameter } from './parameter.js';

/**
 * Claims the barrier of something that is to happen once. Values: gid, branch_id, op, barrier_id (see `once.ts`). Rows: 1 if it is the first, 0 if it has happened (on MySQL it fails then). Waits while a
 * rival transaction is open.
 */
export function insertEffect({ dialect, name }: Table): string {
  const [gid, branch, op, id] = [1, 2, 3, 4].map((n) => parameter(dialect, n));
  return `insert into ${name} (trans_type, gid, branch_id, op, barrier_id, reason) values ('msg', ${gid}, ${branch}, ${op}, ${id}, 'once')${onConflict(dialect)}`;
}
