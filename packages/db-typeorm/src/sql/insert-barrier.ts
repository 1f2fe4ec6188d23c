import type { Table } from '../tables.js';
import { onConflict, parameter } from './parameter.js';

/**
 * Claims the barrier of a message. Values: gid, instance, reason (`'msg'` by the business transaction, `'rollback'` by whoever asks what became of it). Rows: 1 if we
 * were first, 0 if the other side was (on MySQL it fails then). Waits while a rival transaction is open. Source: DTM, two-phase message.
 */
export function insertBarrier({ dialect, name }: Table): string {
  const [gid, instance, reason] = [1, 2, 3].map((n) => parameter(dialect, n));
  return `insert into ${name} (trans_type, gid, branch_id, op, barrier_id, reason) values ('msg', ${gid}, '00', 'msg', ${instance}, ${reason})${onConflict(dialect)}`;
}

/** The same of a job whose instance was drawn just now: nobody else can have it, so a conflict is an error. Values: gid, instance. Rows: 1. */
export function insertDrawnBarrier({ name }: Table): string {
  return `insert into ${name} (trans_type, gid, branch_id, op, barrier_id, reason) values ('msg', $1, '00', 'msg', $2, 'msg')`;
}
