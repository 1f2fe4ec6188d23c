import type { QuotedName } from '@stepping/typeorm';
import { ROLLED_BACK } from '../../status.js';

const become = (source: string, now: string) => `
  instance = ${source}.instance, status = ${source}.status, queue = ${source}.queue, tenant = ${source}.tenant, db = ${source}.db, steps = ${source}.steps,
  held = ${source}.held, due_at = ${now} + ${source}.due_in * interval '1 ms', step = 0, attempt = 1, lease = j.lease + 1, created_at = ${now}, finished_at = null, last_error = null`;

/** Makes rolled-back rows the new jobs' (R4). Values: those of `insertJobs`, with the leases found. Rows: gid and new lease of those that still were rolled back. */
export const reviveJobs = (table: QuotedName) => `
  update ${table} j set ${become('v', 'now()')}
  from unnest($1::text[], $2::text[], $3::smallint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::smallint[], $10::bigint[])
    v(gid, instance, status, queue, tenant, db, steps, lease, held, due_in)
  where j.gid = v.gid and j.lease = v.lease and j.status = ${ROLLED_BACK}
  returning j.gid, j.lease`;

/** The same for one job in the transaction of a user. */
export const reviveJobEnlisted = (table: QuotedName) => `
  update ${table} j set ${become('v', 'clock_timestamp()')}
  from (select $1::text gid, $2::text instance, $3::smallint status, $4::text queue, $5::text tenant, $6::text db, $7::text steps, $8::bigint lease, $9::smallint held, $10::bigint due_in) v
  where j.gid = v.gid and j.lease = v.lease and j.status = ${ROLLED_BACK}
  returning j.gid, j.lease`;
