import type { CreateAnswer, CreateJob, EnlistedStore } from '@stepping/tm-local';
import { answerByRow } from '@stepping/tm-local';
import { isBusy } from '@stepping/typeorm';
import type { QueryRunner } from 'typeorm';
import { statusOf } from '../status.js';
import { insertValues, reviveValues } from './sqlite-rows.js';
import type { SqliteStatements } from './sqlite-statements.js';

/** Writes a job through the user's open transaction. Once it has written, it is the only writer of the file, so what it reads stays so. */
export function enlistedSqliteStore(queryRunner: QueryRunner, statements: SqliteStatements): EnlistedStore {
  const create = async (job: CreateJob): Promise<CreateAnswer> => {
    const [inserted] = await queryRunner.query(statements.insertJob, insertValues(job));
    if (inserted !== undefined) return { outcome: 'stored', lease: job.lease };

    const [{ instance, status, lease }] = await queryRunner.query(statements.findOwner, [job.gid]);
    const answer = answerByRow(job, { instance, status: statusOf(status), lease });
    if (answer !== 'revive') return answer;
    await queryRunner.query(statements.reviveJob, reviveValues(job, lease));
    return { outcome: 'stored', lease: lease + 1 };
  };
  return {
    create: (job) =>
      create(job).catch((error) => {
        if (isBusy(error)) return { outcome: 'locked' };
        throw error;
      }),
  };
}
