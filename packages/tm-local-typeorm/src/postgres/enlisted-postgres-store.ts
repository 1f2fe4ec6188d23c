import type { CreateAnswer, CreateJob, EnlistedStore } from '@stepping/tm-local';
import { answerByRow } from '@stepping/tm-local';
import { isLockTimeout } from '@stepping/typeorm';
import { QueryFailedError, type QueryRunner } from 'typeorm';
import { statusOf } from '../status.js';
import { executeText } from './execute-text.js';
import type { PostgresClient, PostgresStatement } from './postgres-lane.js';
import { enlistedValues } from './postgres-rows.js';
import type { PostgresStatements } from './postgres-statements.js';

/** A row that is purged or revived by others between two statements is looked at again, so many times. */
const MAX_ROUNDS = 4;

/** Writes a job through the user's open transaction; waits for rivals as long as the user's own lock timeout says. */
export function enlistedPostgresStore(queryRunner: QueryRunner, { enlisted: sql }: PostgresStatements): EnlistedStore {
  const query = async (text: string, values: unknown[]) => (await queryRunner.query(text, values, true)).records;

  const create = async (job: CreateJob): Promise<CreateAnswer> => {
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const inserted = await runPrepared(queryRunner, sql.insertJob, enlistedValues(job));
      if (inserted !== undefined) return { outcome: 'stored', lease: job.lease };

      const [row] = await query(sql.findOwner, [[job.gid]]);
      if (row === undefined) continue; // purged meanwhile
      const found = { instance: row.instance, status: statusOf(row.status), lease: Number(row.lease) };
      const answer = answerByRow(job, found);
      if (answer !== 'revive') return answer;
      const [revived] = await query(sql.reviveJob, enlistedValues(job, found.lease));
      if (revived !== undefined) return { outcome: 'stored', lease: Number(revived.lease) };
    }
    return { outcome: 'in-doubt' };
  };

  const createDrawn = async (job: CreateJob, withCommit: (statement: string) => void): Promise<CreateAnswer> => {
    const values = enlistedValues(job);
    const execute = executeText(await queryRunner.connect(), sql.insertDrawn, values);
    if (execute === undefined) await runPrepared(queryRunner, sql.insertDrawn, values);
    else withCommit(execute);
    return { outcome: 'stored', lease: job.lease };
  };

  return {
    create: (job, withCommit) =>
      (withCommit ? createDrawn(job, withCommit) : create(job)).catch((error) => {
        if (isLockTimeout(error)) return { outcome: 'locked' };
        throw error;
      }),
  };
}

/**
 * On the driver's client, which TypeORM does not let prepare: parsing and planning the insert takes the server as long as all the rest of a small transaction. The user's connections lead
 * where the store's do, so what they pass through keeps prepared statements. Logged and refused as TypeORM would. Answers the first row.
 */
async function runPrepared(queryRunner: QueryRunner, { name, text }: PostgresStatement, values: unknown[]): Promise<unknown> {
  const client: PostgresClient = await queryRunner.connect();
  const { logger } = queryRunner.dataSource;
  logger.logQuery(text, values, queryRunner);
  try {
    return (await client.query({ name, text, values })).rows[0];
  } catch (error) {
    logger.logQueryError(error as Error, text, values, queryRunner);
    throw new QueryFailedError(text, values, error as Error);
  }
}
