import type { QuotedName } from '@stepping/typeorm';

/**
 * Inserts a batch of jobs but for those whose gid is taken, waiting for gids that are uncommitted elsewhere. Values: arrays of gid, instance, status, queue, tenant, db, steps,
 * lease, held, ms until due. Rows: the gids inserted.
 */
export const insertJobs = (table: QuotedName) => `
  insert into ${table} (gid, instance, status, queue, tenant, db, steps, lease, held, due_at, step, attempt, created_at)
  select gid, instance, status, queue, tenant, db, steps, lease, held, now() + due_in * interval '1 ms', 0, 1, now()
  from unnest($1::text[], $2::text[], $3::smallint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::smallint[], $10::bigint[])
    v(gid, instance, status, queue, tenant, db, steps, lease, held, due_in)
  on conflict (gid) do nothing
  returning gid`;

/**
 * The same for one job in the transaction of a user, which may have begun long ago: `now()` would be its beginning. A taken gid must not fail the statement: that
 * would abort the user's transaction.
 */
export const insertJobEnlisted = (table: QuotedName) => `${insertJobDrawn(table)}
  on conflict (gid) do nothing
  returning gid`;

/** The same of a gid that was drawn for the job, which nobody else can have. Whatever hinders it fails the transaction. */
export const insertJobDrawn = (table: QuotedName) => `
  insert into ${table} (gid, instance, status, queue, tenant, db, steps, lease, held, due_at, step, attempt, created_at)
  values ($1, $2, $3, $4, $5, $6, $7, $8, $9, clock_timestamp() + $10::bigint * interval '1 ms', 0, 1, clock_timestamp())`;
