import type { QuotedName } from '@stepping/typeorm';
import { PURGING } from '../../status.js';

/** Third write of a purge (R5). Values: arrays of gid and lease. Rows: the gids deleted. */
export const deletePurged = (table: QuotedName) => `
  delete from ${table} j using unnest($1::text[], $2::bigint[]) v(gid, lease)
  where j.gid = v.gid and j.lease = v.lease and j.status = ${PURGING}
  returning j.gid`;
