import type { QuotedName } from '@stepping/typeorm';
import { PURGING } from '../../status.js';

/** Third write of a purge (R5). Values: gid, lease. */
export const deletePurged = (table: QuotedName) => `delete from ${table} where gid = ? and lease = ? and status = ${PURGING}`;
