import type { QuotedName } from '@stepping/typeorm';
import { SUBMITTED } from '../../status.js';
import { NOW } from './now.js';

/**
 * A fenced write of a lease holder (R6, R7). Named values: gid, lease, step, attempt, status, giveUp (0 or 1), dueInMs, queue, error (null: untouched), dbs (a JSON
 * array of texts that are added to those stored, each once; null: untouched). Changes: 1 if the fence matched and the row is not further than this write.
 */
export const saveJob = (table: QuotedName) => `
  update ${table}
  set step = :step, attempt = :attempt, status = :status,
      queue = coalesce(:queue, queue),
      due_at = case when :status > ${SUBMITTED} then null when :dueInMs is null then due_at else ${NOW} + :dueInMs end,
      finished_at = case when :status > ${SUBMITTED} then ${NOW} end,
      last_error = coalesce(:error, last_error),
      lease = lease + :giveUp,
      held = case when :giveUp then 0 else held end,
      barrier_dbs = case when :dbs is null then barrier_dbs else (
        select json_group_array(distinct value) from (
          select value from json_each(coalesce(barrier_dbs, '[]')) union all select value from json_each(:dbs))) end
  where gid = :gid and lease = :lease
    and case when :giveUp then step <= :step else (step, attempt) <= (:step, :attempt) end`;
