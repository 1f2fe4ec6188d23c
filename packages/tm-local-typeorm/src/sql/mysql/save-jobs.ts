import type { QuotedName } from '@stepping/typeorm';
import { SUBMITTED } from '../../status.js';
import { inMs, NOW } from './now.js';
import { joinByGid, rowsOf } from './rows-of.js';

const NUMBERS = {
  gid: 'gid',
  lease: 'whole',
  step: 'whole',
  attempt: 'whole',
  status: 'whole',
  give_up: 'whole',
  due_in: 'whole',
} as const;
const TEXTS = { queue: 'text', error: 'text', dbs: 'text' } as const;

/** The fence, and not further than this write (R6, R7). */
const FENCE = `
  where j.lease = v.lease
    and case v.give_up when 1 then j.step <= v.step else j.step < v.step or (j.step = v.step and j.attempt <= v.attempt) end`;

/** No assignment reads what another one writes: their order is not defined. */
const SET = `
  j.step = v.step, j.attempt = v.attempt, j.status = v.status,
  j.due_at = case when v.status > ${SUBMITTED} then null when v.due_in is null then j.due_at else ${inMs('v.due_in')} end,
  j.finished_at = case when v.status > ${SUBMITTED} then ${NOW} end,
  j.lease = j.lease + v.give_up,
  j.held = case v.give_up when 1 then 0 else j.held end`;

/**
 * Fenced writes of lease holders, progress and ends in one statement. Value: rows of gid, lease, step, attempt, status, give up (0 or 1), ms until due. Affected: how many
 * matched.
 */
export const saveJobs = (table: QuotedName) => `update ${rowsOf(NUMBERS)} ${joinByGid(table)} set ${SET} ${FENCE}`;

/**
 * The same for batches in which a save has texts: rows as above, with queue, error, and databases with barriers (a JSON array of texts, added to those stored); null where
 * untouched. A statement of its own: the server keeps the new values of an update that joins in a table, and one with such texts is on the disk.
 */
export const saveJobsWithTexts = (table: QuotedName) => `
  update ${rowsOf({ ...NUMBERS, ...TEXTS })} ${joinByGid(table)}
  set ${SET},
      j.queue = coalesce(v.queue, j.queue),
      j.last_error = coalesce(v.error, j.last_error),
      j.barrier_dbs = case
        when v.dbs is null then j.barrier_dbs
        when j.barrier_dbs is null then v.dbs
        when json_contains(j.barrier_dbs, v.dbs) then j.barrier_dbs
        else json_merge_preserve(j.barrier_dbs, v.dbs) end
  ${FENCE}`;

/** Which of these would match, and nobody changes them before the transaction ends. Value: rows of numbers, as above. Rows: gid. */
export const lockSaveable = (table: QuotedName) => `select j.gid from ${rowsOf(NUMBERS)} ${joinByGid(table)} ${FENCE} for update`;
