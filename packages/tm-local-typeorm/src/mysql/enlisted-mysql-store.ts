import { SteppingError } from '@stepping/core';
import type { CreateAnswer, CreateJob, EnlistedStore } from '@stepping/tm-local';
import { answerByRow } from '@stepping/tm-local';
import { assertInMysqlTransaction, isLockTimeout, isUniqueViolation } from '@stepping/typeorm';
import type { QueryRunner } from 'typeorm';
import { MAX_MYSQL_QUEUE } from '../migrations.js';
import { statusOf } from '../status.js';
import { insertValues, reviveValues } from './mysql-rows.js';
import type { MysqlStatements } from './mysql-statements.js';

/** A row that is purged or revived by others between two statements is looked at again, so many times. */
const MAX_ROUNDS = 4;

/** Writes a job through the user's open transaction; waits for rivals as long as the user's own lock timeout says. */
export function enlistedMysqlStore(queryRunner: QueryRunner, sql: MysqlStatements): EnlistedStore {
  const affected = async (text: string, values: unknown[]) => (await queryRunner.query(text, values, true)).affected;

  const insert = async (job: CreateJob): Promise<boolean> => {
    try {
      await affected(sql.insertJobEnlisted, insertValues(job));
      return true;
    } catch (error) {
      if (isUniqueViolation(error)) return false;
      throw error;
    }
  };

  const create = async (job: CreateJob): Promise<CreateAnswer> => {
    assertQueueFits(job);
    await assertInMysqlTransaction(queryRunner);
    for (let round = 0; round < MAX_ROUNDS; round++) {
      if (await insert(job)) return { outcome: 'stored', lease: job.lease };

      const [row] = await queryRunner.query(sql.findOwnerNow, [job.gid]);
      if (row === undefined) continue; // purged meanwhile
      const found = { instance: row.instance, status: statusOf(row.status), lease: Number(row.lease) };
      const answer = answerByRow(job, found);
      if (answer !== 'revive') return answer;
      if ((await affected(sql.reviveJob, reviveValues(job, found.lease))) === 1) return { outcome: 'stored', lease: found.lease + 1 };
    }
    return { outcome: 'in-doubt' };
  };

  return {
    create: (job) =>
      create(job).catch((error) => {
        if (isLockTimeout(error)) return { outcome: 'locked' };
        throw error;
      }),
  };
}

/** Where the user's connection is not in strict mode, the server would cut it off, and nobody would look for it there. */
function assertQueueFits({ queue }: CreateJob): void {
  if (queue.length <= MAX_MYSQL_QUEUE) return;
  throw new SteppingError(
    'CONFIG_INVALID',
    `The name of a queue has at most ${MAX_MYSQL_QUEUE} characters on MariaDB and MySQL; this one has ${queue.length}.`,
  );
}
