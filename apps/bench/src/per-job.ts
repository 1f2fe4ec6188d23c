import { setTimeout as sleep } from 'node:timers/promises';
import type { Databases } from './databases/databases.js';
import type { Values } from './measured.js';

/** Backends report what they did when they are idle or end. Unit: ms. */
const REPORT_MS = 150;

/** What the server does between now and the call of the answer, for each of so many jobs. The look itself is not in it. */
export async function perJob(databases: Databases, database: string): Promise<(jobs: number) => Promise<Values>> {
  const before = await databases.totals?.(database);
  return async (jobs) => {
    if (before === undefined || databases.totals === undefined) return {};
    await sleep(REPORT_MS);
    const after = await databases.totals(database);
    return {
      commitsPerJob: (after.commits - before.commits) / jobs,
      fsyncsPerJob: (after.fsyncs - before.fsyncs) / jobs,
      walBytesPerJob: (after.walBytes - before.walBytes) / jobs,
    };
  };
}
