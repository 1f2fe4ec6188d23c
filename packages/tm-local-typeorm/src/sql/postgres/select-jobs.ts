import type { StoreFilter } from '@stepping/tm-local';
import type { QuotedName } from '@stepping/typeorm';
import { PURGING, statusCode, statusMask, UNFINISHED } from '../../status.js';

const ms = (column: string) => `extract(epoch from ${column}) * 1000`;
const COLUMNS = `gid, instance, status, queue, step, attempt, lease, held, tenant, db, steps, ${ms('created_at')}, ${ms('due_at')}, ${ms('finished_at')}, last_error`;

/** One job. Value: gid. */
export const selectJob = (table: QuotedName) => `select ${COLUMNS} from ${table} where gid = $1`;

/** A page of jobs in the order of gids, with its values. Only what is asked for is in its text, so that the planner may choose one of the small indexes. */
export function selectJobs(table: QuotedName, filter: StoreFilter): { text: string; values: unknown[] } {
  const values: unknown[] = [];
  const value = (given: unknown) => `$${values.push(given)}`;
  const conditions = [`status <> ${PURGING}`];
  if (filter.status !== undefined) {
    conditions.push(filter.status.length === 0 ? 'false' : `status in (${filter.status.map(statusCode)})`);
    if ((statusMask(filter.status) & ~UNFINISHED) === 0) conditions.push('due_at is not null');
  }
  if (filter.cursor !== undefined) conditions.push(`gid > ${value(filter.cursor)}`);
  if (filter.tenant !== undefined) conditions.push(`tenant = ${value(filter.tenant)}`);
  if (filter.createdAfter !== undefined) conditions.push(`created_at > ${value(filter.createdAfter.toISOString())}::timestamptz`);
  if (filter.createdBefore !== undefined) conditions.push(`created_at < ${value(filter.createdBefore.toISOString())}::timestamptz`);
  if (filter.step !== undefined) conditions.push(`steps::json #>> array['steps', step::text, 'n'] = ${value(filter.step)}`);
  return { text: `select ${COLUMNS} from ${table} where ${conditions.join(' and ')} order by gid limit ${value(filter.limit)}`, values };
}
