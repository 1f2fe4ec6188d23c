import type { QuotedName } from '@stepping/typeorm';
import { changeJobs } from '../sql/postgres/change-jobs.js';
import { claimJobs, claimJobsFrom, peekDue } from '../sql/postgres/claim-jobs.js';
import { deletePurged } from '../sql/postgres/delete-purged.js';
import { extendLeases } from '../sql/postgres/extend-leases.js';
import { findOwners, touchOwner } from '../sql/postgres/find-owners.js';
import { insertJobDrawn, insertJobEnlisted, insertJobs } from '../sql/postgres/insert-jobs.js';
import { insertRolledBack } from '../sql/postgres/insert-rolled-back.js';
import { reviveJobEnlisted, reviveJobs } from '../sql/postgres/revive-jobs.js';
import { saveJobs, saveJobsWithDbs } from '../sql/postgres/save-jobs.js';
import { selectJob } from '../sql/postgres/select-jobs.js';
import { selectNextDue } from '../sql/postgres/select-next-due.js';
import { countByStatus, selectOldest } from '../sql/postgres/select-stats.js';
import { startPurge } from '../sql/postgres/start-purge.js';
import type { PostgresStatement } from './postgres-lane.js';
import { tableHash } from './table-hash.js';

/** Every statement of the store on PostgreSQL, for one table. */
export function postgresStatements(table: QuotedName) {
  return {
    table,
    ...named({
      insertJobs: insertJobs(table),
      findOwners: findOwners(table),
      touchOwner: touchOwner(table),
      reviveJobs: reviveJobs(table),
      insertRolledBack: insertRolledBack(table),
      saveJobs: saveJobs(table),
      saveJobsWithDbs: saveJobsWithDbs(table),
      extendLeases: extendLeases(table),
      changeJobs: changeJobs(table),
      claimJobs: claimJobs(table),
      claimJobsFrom: claimJobsFrom(table),
      peekDue: peekDue(table),
      selectNextDue: selectNextDue(table),
      selectJob: selectJob(table),
      countByStatus: countByStatus(table),
      selectOldest: selectOldest(table),
      startPurge: startPurge(table),
      deletePurged: deletePurged(table),
    }),
    // On the user's connections. What is not seldom is prepared there, by a name that tells stores with other tables apart.
    enlisted: {
      insertJob: { name: `stepping_insert_${tableHash(table)}`, text: insertJobEnlisted(table) },
      insertDrawn: { name: `stepping_drawn_${tableHash(table)}`, text: insertJobDrawn(table) },
      findOwner: findOwners(table),
      reviveJob: reviveJobEnlisted(table),
    },
  } as const;
}

export type PostgresStatements = ReturnType<typeof postgresStatements>;

function named<K extends string>(texts: Record<K, string>): Record<K, PostgresStatement> {
  const statements = Object.entries<string>(texts).map(([key, text]) => [key, { name: `stepping_${key}`, text }]);
  return Object.fromEntries(statements);
}
