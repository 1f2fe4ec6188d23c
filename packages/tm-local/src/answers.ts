import type { InDoubtAnswer } from '@stepping/core';
import type { CreateAnswer, CreateJob, StoredStatus } from './transaction-store.js';

/** What a create, or the question of R9, found under its gid. */
export interface FoundRow {
  readonly instance: string;
  readonly status: StoredStatus;
  readonly lease: number;
}

/** The table of R4 (design §4) for a gid that is taken. `revive`: the row is to be made the new job's by compare-and-set. */
export function answerByRow(job: Pick<CreateJob, 'instance'>, row: FoundRow): CreateAnswer | 'revive' {
  if (row.status === 'purging') return { outcome: 'in-doubt' };
  if (row.status === 'rolled-back') return 'revive';
  if (row.instance === job.instance) return { outcome: 'repeated', status: row.status, lease: row.lease };
  if (row.status === 'prepared') return { outcome: 'in-doubt' };
  return { outcome: 'duplicate', status: row.status };
}

/** What a row says of the commit of `instance` (R9). A row that is not mine proves that mine never got there. */
export function verdictByRow(instance: string, row: FoundRow): InDoubtAnswer {
  if (row.instance !== instance || row.status === 'rolled-back') return 'rolled-back';
  return row.status === 'prepared' || row.status === 'purging' ? 'unknown' : 'committed';
}
