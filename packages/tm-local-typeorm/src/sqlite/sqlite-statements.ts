import type { QuotedName } from '@stepping/typeorm';
import { changeJob } from '../sql/sqlite/change-job.js';
import { claimJob } from '../sql/sqlite/claim-job.js';
import { deletePurged } from '../sql/sqlite/delete-purged.js';
import { extendLease } from '../sql/sqlite/extend-lease.js';
import { findOwner } from '../sql/sqlite/find-owner.js';
import { insertJob } from '../sql/sqlite/insert-job.js';
import { insertRolledBack } from '../sql/sqlite/insert-rolled-back.js';
import { reviveJob } from '../sql/sqlite/revive-job.js';
import { saveCheckpoint } from '../sql/sqlite/save-checkpoint.js';
import { saveJob } from '../sql/sqlite/save-job.js';
import { selectDue } from '../sql/sqlite/select-due.js';
import { selectIds } from '../sql/sqlite/select-ids.js';
import { selectJob } from '../sql/sqlite/select-jobs.js';
import { selectNextDue } from '../sql/sqlite/select-next-due.js';
import { countByStatus, selectOldest } from '../sql/sqlite/select-stats.js';
import { selectPurgeable, startPurge } from '../sql/sqlite/start-purge.js';

/** Every statement of the store on SQLite, for one table. */
export function sqliteStatements(table: QuotedName) {
  return {
    table,
    insertJob: insertJob(table),
    findOwner: findOwner(table),
    reviveJob: reviveJob(table),
    insertRolledBack: insertRolledBack(table),
    saveCheckpoint: saveCheckpoint(table),
    saveJob: saveJob(table),
    extendLease: extendLease(table),
    changeJob: changeJob(table),
    selectDue: selectDue(table),
    claimJob: claimJob(table),
    selectNextDue: selectNextDue(table),
    selectJob: selectJob(table),
    countByStatus: countByStatus(table),
    selectOldest: selectOldest(table),
    selectIds: selectIds(table),
    selectPurgeable: selectPurgeable(table),
    startPurge: startPurge(table),
    deletePurged: deletePurged(table),
  } as const;
}

export type SqliteStatements = ReturnType<typeof sqliteStatements>;
