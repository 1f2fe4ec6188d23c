import type { QuotedName } from '@stepping/typeorm';

/** How long until the earliest unfinished row of each queue is due. Value: array of queues. Rows: queue, ms. */
export const selectNextDue = (table: QuotedName) => `
  select q, extract(epoch from first.due_at - now()) * 1000
  from unnest($1::text[]) q
  cross join lateral (select due_at from ${table} j where j.queue = q and j.due_at is not null order by j.due_at limit 1) first`;
