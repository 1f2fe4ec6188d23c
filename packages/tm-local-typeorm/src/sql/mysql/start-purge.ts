import type { QuotedName } from '@stepping/typeorm';
import { FAILED, PURGING, SUBMITTED } from '../../status.js';
import { msAgo, NOW } from './now.js';

/** A purge that left its rows for this long has died; another one takes them over. Unit: ms. */
const ABANDONED_MS = 600_000;

/** `finished_at` of a purging row is when its purge began. Values: ms ago of failed rows, of finished ones. */
const OLD_ENOUGH = `
  status > ${SUBMITTED} and finished_at <= ${msAgo(`(case status when ${FAILED} then ? when ${PURGING} then ${ABANDONED_MS} else ? end)`)}`;

/**
 * Rows that may be purged. It locks none: it reads the whole table, and a claim would pass over a row that is locked for a moment. Values: the ages, limit. Rows: gid.
 */
export const selectPurgeable = (table: QuotedName) => `select gid from ${table} where ${OLD_ENOUGH} limit ?`;

/** Those of them that still may be, but for those that others have locked; locked from now on. Values: list of gids, the ages. Rows: gid, lease, database, databases with barriers. */
export const lockPurgeable = (table: QuotedName) => `
  select gid, lease, db, barrier_dbs from ${table} force index (primary) where gid in (?) and ${OLD_ENOUGH} for update skip locked`;

/** First write of a purge (R5), to rows that are locked. Value: list of gids. */
export const startPurge = (table: QuotedName) => `
  update ${table} force index (primary) set status = ${PURGING}, lease = lease + 1, finished_at = ${NOW} where gid in (?)`;
