import type { QuotedName } from '@stepping/typeorm';

/**
 * Claims due rows of a queue, the most overdue first. Values: queue, limit, lease in ms. Rows: gid, lease, instance, status, queue, step, attempt, held (2: it was held before), tenant, db,
 * steps, age in ms, latest due_at of all that were locked. Where rows were locked and none of them claimed there is one of nulls but for the last: claim again.
 *
 * By `ctid`: the rows are locked, so they are still there, and looking each up by its gid is a tenth of what a job of three steps takes. It passes over a row that somebody changed between our
 * snapshot and our lock. `= any(array(…))`, as a join with the limited select becomes a scan of the whole table in a generic plan.
 */
export const claimJobs = (table: QuotedName) => claim(table, '');

/**
 * The same from a `due_at` on ($4): it does not walk over the dead index entries of rows claimed before, which pile up while an old transaction is open somewhere.
 */
export const claimJobsFrom = (table: QuotedName) => claim(table, 'and due_at >= $4::timestamptz');

const claim = (table: QuotedName, from: string) => `
  with due as materialized (
    select ctid as place, due_at from ${table} where queue = $1::text and due_at <= now() ${from} order by due_at limit $2::bigint for update skip locked),
  claimed as (
    update ${table} j set due_at = now() + $3::bigint * interval '1 ms', lease = j.lease + 1, held = case j.held when 0 then 1 else 2 end
    where ctid = any(array(select place from due))
    returning j.gid, j.lease, j.instance, j.status, j.queue, j.step, j.attempt, j.held, j.tenant, j.db, j.steps, extract(epoch from now() - j.created_at) * 1000)
  select claimed.*, latest from (select max(due_at) as latest from due) locked left join claimed on true where latest is not null`;

/** The most overdue row that is due before a given time: what bounded claims pass over. Values: queue, that time. */
export const peekDue = (table: QuotedName) => `
  select due_at from ${table} where queue = $1::text and due_at <= now() and due_at < $2::timestamptz order by due_at limit 1`;
