import type { QuotedName } from '@stepping/typeorm';
import { FAILED, PURGING, SUBMITTED } from '../../status.js';

/** A purge that left its rows for this long has died; another one takes them over. Unit: ms. */
const ABANDONED_MS = 600_000;

/**
 * First write of a purge (R5). `finished_at` of a purging row is when its purge began. Values: ms ago of finished rows, of failed ones, limit. Rows: gid, new lease, database, databases with barriers. No index
 * serves it: one on `finished_at` would cost every job more than a scan now and then.
 */
export const startPurge = (table: QuotedName) => `
  update ${table}
  set status = ${PURGING}, lease = lease + 1, finished_at = now()
  where gid = any(array(
    select gid from ${table}
    where status > ${SUBMITTED}
      and finished_at <= now() - case status when ${FAILED} then $2::bigint when ${PURGING} then ${ABANDONED_MS} else $1::bigint end * interval '1 ms'
    limit $3::bigint
    for update skip locked))
  returning gid, lease, db, barrier_dbs`;
