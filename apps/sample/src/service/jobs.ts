import type { JobStatus, Stepping } from '@stepping/core';
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';

const PAGE = 500;
const Query = z.object({ status: z.enum(['prepared', 'submitted', 'succeeded', 'rolled-back', 'failed', 'cancelled']).optional() });

/** For operators. */
export function jobRoutes(app: FastifyInstance, stepping: Stepping): void {
  app.get('/jobs', async (request) => countJobs(stepping, Query.parse(request.query).status));
}

/** By status. Counted one by one, which every transaction manager can do; `jobs.stats()` is for those that keep their jobs in a database of yours. */
async function countJobs(stepping: Stepping, status: JobStatus | undefined): Promise<Partial<Record<JobStatus, number>>> {
  const counts: Partial<Record<JobStatus, number>> = {};
  let cursor: string | undefined;
  do {
    const page = await stepping.jobs.list({ status, limit: PAGE, cursor });
    for (const job of page.jobs) counts[job.status] = (counts[job.status] ?? 0) + 1;
    cursor = page.cursor;
  } while (cursor !== undefined);
  return counts;
}
