import type { QuotedName } from '@stepping/typeorm';
import { FAILED, PURGING, SUBMITTED } from '../../status.js';
import { NOW } from './now.js';

/** A purge that left its rows for this long has died; another one takes them over. Unit: ms. */
const ABANDONED_MS = 600_000;

/** `finished_at` of a purging row is when its purge began. Named values: finishedMsAgo, failedMsAgo. */
const OLD_ENOUGH = `
  status > ${SUBMITTED}
  and finished_at <= ${NOW} - case status when ${FAILED} then :failedMsAgo when ${PURGING} then ${ABANDONED_MS} else :finishedMsAgo end`;

/** Rows that may be purged, in a range of ids. Named values: after, upTo, limit and the ages. */
export const selectPurgeable = (table: QuotedName) =>
  `select gid from ${table} where id > :after and id <= :upTo and ${OLD_ENOUGH} limit :limit`;

/** First write of a purge (R5), for one row. Named values: gid and the ages. Rows: gid, new lease, database, databases with barriers, if it still may be purged. */
export const startPurge = (table: QuotedName) => `
  update ${table} set status = ${PURGING}, lease = lease + 1, finished_at = ${NOW}
  where gid = :gid and ${OLD_ENOUGH}
  returning gid, lease, db, barrier_dbs`;
