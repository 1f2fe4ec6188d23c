import type { StoreFilter } from '@stepping/tm-local';
import type { QuotedName } from '@stepping/typeorm';
import { PURGING, statusCode, statusMask, UNFINISHED } from '../../status.js';

const COLUMNS = 'gid, instance, status, queue, step, attempt, lease, held, tenant, db, steps, created_at, due_at, finished_at, last_error';

/** One job. Value: gid. */
export const selectJob = (table: QuotedName) => `select ${COLUMNS} from ${table} where gid = ?`;

/** A page of jobs in the order of gids, with its values. Only what is asked for is in its text, so that the planner may choose one of the small indexes. */
export function selectJobs(table: QuotedName, filter: StoreFilter): { text: string; values: unknown[] } {
  const conditions = [`status <> ${PURGING}`];
  const values: unknown[] = [];
  const where = (condition: string, value: unknown) => {
    conditions.push(condition);
    values.push(value);
  };
  if (filter.status !== undefined) {
    conditions.push(
      filter.status.length === 1 ? `status = ${filter.status.map(statusCode)}` : `status in (${filter.status.map(statusCode)})`,
    );
    if ((statusMask(filter.status) & ~UNFINISHED) === 0) conditions.push('due_at is not null');
  }
  if (filter.cursor !== undefined) where('gid > ?', filter.cursor);
  if (filter.tenant !== undefined) where('tenant = ?', filter.tenant);
  if (filter.createdAfter !== undefined) where('created_at > ?', filter.createdAfter.getTime());
  if (filter.createdBefore !== undefined) where('created_at < ?', filter.createdBefore.getTime());
  if (filter.step !== undefined) where("steps ->> ('$.steps[' || step || '].n') = ?", filter.step);
  values.push(filter.limit);
  return { text: `select ${COLUMNS} from ${table} where ${conditions.join(' and ')} order by gid limit ?`, values };
}
