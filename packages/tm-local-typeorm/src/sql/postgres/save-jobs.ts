import type { QuotedName } from '@stepping/typeorm';
import { SUBMITTED } from '../../status.js';

/**
 * Fenced writes of lease holders (R6, R7), progress and ends in one statement. A checkpoint leaves `due_at` and `queue` as they are, so its new version goes beside the old one
 * and no index is touched (HOT). Values: arrays of gid, lease, step, attempt, status, give up (0 or 1), ms until due, queue, error (null: untouched).
 * One row: of how many the fence matched, not further than this write; and their gids as JSON, null where that is all, as nearly always: a row for each would cost its reader more than the
 * save its writer.
 */
export const saveJobs = (table: QuotedName) => save(table, { set: '', source: '', column: '' });

/**
 * The same for batches in which a save names databases. Further value: array of databases as JSON arrays of texts (null: untouched), which are added to those stored, each once. A
 * statement of its own, so that all the others neither send nor look at any of it.
 */
export const saveJobsWithDbs = (table: QuotedName) =>
  save(table, {
    set: `,
      barrier_dbs = case when v.dbs is null then j.barrier_dbs else (
        select jsonb_agg(distinct e.ref) from jsonb_array_elements(coalesce(j.barrier_dbs, '[]')::jsonb || v.dbs::jsonb) e(ref))::text end`,
    source: ', $10::text[]',
    column: ', dbs',
  });

const save = (table: QuotedName, dbs: { set: string; source: string; column: string }) => `
  with saved as (
  update ${table} j
  set step = v.step, attempt = v.attempt, status = v.status,
      queue = coalesce(v.queue, j.queue),
      due_at = case when v.status > ${SUBMITTED} then null when v.due_in is null then j.due_at else now() + v.due_in * interval '1 ms' end,
      finished_at = case when v.status > ${SUBMITTED} then now() end,
      last_error = coalesce(v.error, j.last_error),
      lease = j.lease + v.give_up,
      held = case v.give_up when 1 then 0 else j.held end${dbs.set}
  from unnest($1::text[], $2::bigint[], $3::integer[], $4::integer[], $5::smallint[], $6::smallint[], $7::bigint[], $8::text[], $9::text[]${dbs.source})
    v(gid, lease, step, attempt, status, give_up, due_in, queue, error${dbs.column})
  where j.gid = v.gid and j.lease = v.lease
    and case v.give_up when 1 then j.step <= v.step else (j.step, j.attempt) <= (v.step, v.attempt) end
  returning j.gid)
  select count(*), case when count(*) < cardinality($1::text[]) then json_agg(gid) end from saved`;
