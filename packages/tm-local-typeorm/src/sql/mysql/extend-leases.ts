import type { QuotedName } from '@stepping/typeorm';
import { inMs } from './now.js';
import { joinByGid, rowsOf } from './rows-of.js';

const LEASE = { gid: 'gid', lease: 'whole' } as const;

/** Renews leases. Values: rows of gid and lease; lease in ms. Affected: how many are still held. */
export const extendLeases = (table: QuotedName) =>
  `update ${rowsOf(LEASE)} ${joinByGid(table)} set j.due_at = ${inMs('?')} where j.lease = v.lease`;

/** Which of these leases are still held. Value: rows of gid and lease. Rows: gid. */
export const findLeases = (table: QuotedName) => `select j.gid from ${rowsOf(LEASE)} ${joinByGid(table)} where j.lease = v.lease`;
