import type { QuotedName } from '@stepping/typeorm';

/** Renews leases. Values: arrays of gid and lease; lease in ms. Rows: the gids still held. */
export const extendLeases = (table: QuotedName) => `
  update ${table} j set due_at = now() + $3::bigint * interval '1 ms'
  from unnest($1::text[], $2::bigint[]) v(gid, lease)
  where j.gid = v.gid and j.lease = v.lease
  returning j.gid`;
