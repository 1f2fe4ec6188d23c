import type { QuotedName } from '@stepping/typeorm';
import { FAILED, PURGING, SUBMITTED } from '../../status.js';
import { NOW } from './now.js';

/** A purge that left its rows for this long has died; another one takes them over. Unit: ms. */
const ABANDONED_MS = 600_000;

/**
 * First write of a purge (R5). `finished_at` of a purging row is when its purge began. Named values: finishedMsAgo, failedMsAgo, limit. Rows: gid, new lease, database.
 */
export const startPurge = (table: QuotedName) => `
  update ${table}
  set status = ${PURGING}, lease = lease + 1, finished_at = ${NOW}
  where gid in (
    select gid from ${table}
    where status > ${SUBMITTED}
      and finished_at <= ${NOW} - case status when ${FAILED} then :failedMsAgo when ${PURGING} then ${ABANDONED_MS} else :finishedMsAgo end
    limit :limit)
  returning gid, lease, db`;
