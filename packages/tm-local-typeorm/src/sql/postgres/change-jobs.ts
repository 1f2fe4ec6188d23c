import type { QuotedName } from '@stepping/typeorm';
import { SUBMITTED } from '../../status.js';

/**
 * Compare-and-set on status and instance; moves the fence. Values: arrays of gid, instance (null: any), mask of statuses (see `statusMask`), new status, held, ms until due, queue,
 * error (null: untouched). Rows: gid and new lease of those that matched.
 */
export const changeJobs = (table: QuotedName) => `
  update ${table} j
  set status = v.status, lease = j.lease + 1,
      attempt = case v.status when ${SUBMITTED} then 1 else j.attempt end,
      held = case v.status when ${SUBMITTED} then v.held else 0 end,
      due_at = case v.status when ${SUBMITTED} then now() + v.due_in * interval '1 ms' end,
      finished_at = case v.status when ${SUBMITTED} then null else now() end,
      queue = coalesce(v.queue, j.queue),
      last_error = coalesce(v.error, j.last_error)
  from unnest($1::text[], $2::text[], $3::integer[], $4::smallint[], $5::smallint[], $6::bigint[], $7::text[], $8::text[])
    v(gid, instance, mask, status, held, due_in, queue, error)
  where j.gid = v.gid and (v.instance is null or j.instance = v.instance) and (v.mask >> j.status) & 1 = 1
  returning j.gid, j.lease`;
