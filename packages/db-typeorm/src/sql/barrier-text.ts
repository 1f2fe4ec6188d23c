import type { BarrierKey } from '@stepping/core';
import type { Table } from '../tables.js';

// With their values in the text, to go in one trip with other statements: a gid and an instance have no character that would need to be escaped.

/** The barrier of a job whose instance was drawn just now: nobody else can have it, so a conflict is an error. */
export function insertBarrierText({ name }: Table, { gid, instance }: BarrierKey): string {
  return `insert into ${name} (trans_type, gid, branch_id, op, barrier_id, reason) values ('msg', '${gid}', '00', 'msg', '${instance}', 'msg')`;
}

/** Takes it out again. */
export function deleteBarrierText({ name }: Table, { gid, instance }: BarrierKey): string {
  return `delete from ${name} where gid = '${gid}' and branch_id = '00' and op = 'msg' and barrier_id = '${instance}'`;
}
