import type { QuotedName } from '@stepping/typeorm';
import { SUBMITTED } from '../../status.js';
import { inMs, NOW } from './now.js';
import { joinByGid, rowsOf } from './rows-of.js';

/**
 * Writes changes to rows that are locked, and that were seen to match; moves the fence. Value: rows of gid, new status, held, ms until due, queue, error (the last two null where
 * untouched).
 */
export const changeJobs = (table: QuotedName) => `
  update ${rowsOf({ gid: 'gid', status: 'whole', held: 'whole', due_in: 'whole', queue: 'text', error: 'text' })} ${joinByGid(table)}
  set j.status = v.status, j.lease = j.lease + 1,
      j.attempt = case v.status when ${SUBMITTED} then 1 else j.attempt end,
      j.held = case v.status when ${SUBMITTED} then v.held else 0 end,
      j.due_at = case v.status when ${SUBMITTED} then ${inMs('v.due_in')} end,
      j.finished_at = case v.status when ${SUBMITTED} then null else ${NOW} end,
      j.queue = coalesce(v.queue, j.queue),
      j.last_error = coalesce(v.error, j.last_error)`;
