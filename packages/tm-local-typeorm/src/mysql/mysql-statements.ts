import type { QuotedName } from '@stepping/typeorm';
import { changeJobs } from '../sql/mysql/change-jobs.js';
import { claimJobs, peekDue, selectDue, selectDueFrom } from '../sql/mysql/claim-jobs.js';
import { deletePurged } from '../sql/mysql/delete-purged.js';
import { extendLeases, findLeases } from '../sql/mysql/extend-leases.js';
import { findOwnerNow, findOwners, lockOwners } from '../sql/mysql/find-owners.js';
import { insertJobEnlisted, insertJobs } from '../sql/mysql/insert-jobs.js';
import { insertRolledBack } from '../sql/mysql/insert-rolled-back.js';
import { reviveJob } from '../sql/mysql/revive-job.js';
import { lockSaveable, saveJobs, saveJobsWithTexts } from '../sql/mysql/save-jobs.js';
import { selectJob } from '../sql/mysql/select-jobs.js';
import { selectNextDue } from '../sql/mysql/select-next-due.js';
import { selectStats } from '../sql/mysql/select-stats.js';
import { lockPurgeable, selectPurgeable, startPurge } from '../sql/mysql/start-purge.js';

/** Every statement of the store on MariaDB and MySQL, for one table. */
export function mysqlStatements(table: QuotedName, dueIndex: QuotedName) {
  return {
    table,
    insertJobs: insertJobs(table),
    insertJobEnlisted: insertJobEnlisted(table),
    findOwners: findOwners(table),
    lockOwners: lockOwners(table),
    findOwnerNow: findOwnerNow(table),
    reviveJob: reviveJob(table),
    insertRolledBack: insertRolledBack(table),
    saveJobs: saveJobs(table),
    saveJobsWithTexts: saveJobsWithTexts(table),
    lockSaveable: lockSaveable(table),
    extendLeases: extendLeases(table),
    findLeases: findLeases(table),
    changeJobs: changeJobs(table),
    selectDue: selectDue(table, dueIndex),
    selectDueFrom: selectDueFrom(table, dueIndex),
    peekDue: peekDue(table, dueIndex),
    claimJobs: claimJobs(table),
    selectNextDue: (queues: number) => selectNextDue(table, dueIndex, queues),
    selectJob: selectJob(table),
    selectStats: selectStats(table),
    selectPurgeable: selectPurgeable(table),
    lockPurgeable: lockPurgeable(table),
    startPurge: startPurge(table),
    deletePurged: deletePurged(table),
  } as const;
}

export type MysqlStatements = ReturnType<typeof mysqlStatements>;
