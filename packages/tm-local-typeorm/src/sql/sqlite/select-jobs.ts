import type { QuotedName } from '@stepping/typeorm';
import { PURGING } from '../../status.js';

const COLUMNS = 'gid, instance, status, queue, step, attempt, lease, held, tenant, db, steps, created_at, due_at, finished_at, last_error';

/** One job. Value: gid. */
export const selectJob = (table: QuotedName) => `select ${COLUMNS} from ${table} where gid = ?`;

/**
 * A page of jobs in the order of gids. Named values, each null for all: statusMask (see `statusMask`), step (name of the next one), tenant, createdAfter and createdBefore (ms since
 * 1970), cursor; and limit.
 */
export const selectJobs = (table: QuotedName) => `
  select ${COLUMNS}
  from ${table}
  where status <> ${PURGING}
    and (:cursor is null or gid > :cursor)
    and (:statusMask is null or (:statusMask >> status) & 1)
    and (:tenant is null or tenant = :tenant)
    and (:createdAfter is null or created_at > :createdAfter)
    and (:createdBefore is null or created_at < :createdBefore)
    and (:step is null or steps ->> ('$.steps[' || step || '].n') = :step)
  order by gid
  limit :limit`;
