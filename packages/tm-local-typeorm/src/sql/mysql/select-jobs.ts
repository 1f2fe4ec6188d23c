import type { StoreFilter } from '@stepping/tm-local';
import type { QuotedName } from '@stepping/typeorm';
import { PURGING, statusCode } from '../../status.js';
import { epochMs } from './now.js';

const COLUMNS = `gid, instance, status, queue, step, attempt, lease, held, tenant, db, steps, ${epochMs('created_at')}, ${epochMs('due_at')}, ${epochMs('finished_at')}, last_error`;

/** One job. Value: gid. */
export const selectJob = (table: QuotedName) => `select ${COLUMNS} from ${table} where gid = ?`;

/** A page of jobs in the order of gids, with its values. */
export function selectJobs(table: QuotedName, filter: StoreFilter): { text: string; values: unknown[] } {
  const conditions = [`status <> ${PURGING}`];
  const values: unknown[] = [];
  const where = (condition: string, value: unknown) => {
    conditions.push(condition);
    values.push(value);
  };
  if (filter.status !== undefined) {
    conditions.push(filter.status.length === 0 ? 'false' : `status in (${filter.status.map(statusCode).join(', ')})`);
  }
  if (filter.cursor !== undefined) where('gid > ?', filter.cursor);
  if (filter.tenant !== undefined) where('tenant = ?', filter.tenant);
  if (filter.createdAfter !== undefined) where('created_at > ?', utc(filter.createdAfter));
  if (filter.createdBefore !== undefined) where('created_at < ?', utc(filter.createdBefore));
  if (filter.step !== undefined) {
    where(`json_unquote(json_extract(steps, concat('$.steps[', step, '].n'))) collate utf8mb4_bin = ?`, filter.step);
  }
  return {
    text: `select ${COLUMNS} from ${table} where ${conditions.join(' and ')} order by gid limit ?`,
    values: [...values, filter.limit],
  };
}

/** As the server writes it, which has no time zone. */
function utc(date: Date): string {
  return date.toISOString().replace('T', ' ').replace('Z', '');
}
