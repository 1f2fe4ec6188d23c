import type { QuotedName } from '@stepping/typeorm';
import { SUBMITTED } from '../../status.js';
import { NOW } from './now.js';

/**
 * Compare-and-set on status and instance; moves the fence. Named values: gid, instance (null: any), fromMask (see `statusMask`), status, held, dueInMs, queue, error (null:
 * untouched). Rows: the new lease if it matched.
 */
export const changeJob = (table: QuotedName) => `
  update ${table}
  set status = :status, lease = lease + 1,
      attempt = case when :status = ${SUBMITTED} then 1 else attempt end,
      held = case when :status = ${SUBMITTED} then :held else 0 end,
      due_at = case when :status = ${SUBMITTED} then ${NOW} + :dueInMs end,
      finished_at = case when :status = ${SUBMITTED} then null else ${NOW} end,
      queue = coalesce(:queue, queue),
      last_error = coalesce(:error, last_error)
  where gid = :gid and (:instance is null or instance = :instance) and (:fromMask >> status) & 1
  returning lease`;
