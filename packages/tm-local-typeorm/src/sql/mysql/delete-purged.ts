import type { QuotedName } from '@stepping/typeorm';
import { PURGING } from '../../status.js';
import { joinByGid, rowsOf } from './rows-of.js';

/** Third write of a purge (R5). Value: rows of gid and lease. Affected: how many are gone. */
export const deletePurged = (table: QuotedName) =>
  `delete j from ${rowsOf({ gid: 'gid', lease: 'whole' })} ${joinByGid(table)} where j.lease = v.lease and j.status = ${PURGING}`;
