import { DbProviders, type JobBuilder, type Stepping, SteppingError, TransactionScope } from '@stepping/core';
import { BodyJob } from '@stepping/core/db';
import type { DataSource, EntityManager, QueryRunner } from 'typeorm';
import { type BusinessTransaction, withTransaction } from './business-transaction.js';
import { findDatabase } from './find-database.js';

/** Of TypeORM. SQLite's transactions are always serializable, so it is left out there. */
export type IsolationLevel = NonNullable<Parameters<QueryRunner['startTransaction']>[0]>;

/** What {@link inTransaction} opens its transaction on, beside a mere DataSource. */
export interface InTransactionTarget {
  /** Default: the one registered as `db`. */
  readonly dataSource?: DataSource | undefined;
  /** Name of a database that `typeormDb` registered. Default: the one registered with `dataSource`; without that, `'default'`. */
  readonly db?: string | undefined;
  /** Also handed to every step as `ctx.tenant`. */
  readonly tenant?: string | undefined;
  /** Gid of the job: a repeat of the call is then recognised (`JOB_DUPLICATE`), and rolled back. Default: a new one. */
  readonly gid?: string | undefined;
  /** Default: that of the DataSource. Say it here: by the time the body runs, a first statement may have been sent, after which PostgreSQL takes no other. */
  readonly isolationLevel?: IsolationLevel | undefined;
}

/** What the body works with. */
export interface BusinessScope {
  /** Everything done through it is in the transaction. Repositories of your DataSource are not: take `manager.getRepository(…)`. */
  readonly manager: EntityManager;
  readonly queryRunner: QueryRunner;
  /** Starts when the transaction commits; without steps there is no job. */
  readonly job: JobBuilder;
}

/**
 * Opens a business transaction, runs `work` in it, commits, and then submits the job that `work` added steps to: they run if, and only if, the transaction
 * committed. If `work` throws, the transaction is rolled back and the error passes as it is.
 *
 * On SQLite calls take turns, one transaction per file at a time, and the transaction is on a connection of its own.
 *
 * @throws {@link SteppingError} `DB_UNKNOWN` or `DB_MISMATCH` if the database is not registered by `typeormDb`; `JOB_DUPLICATE` or `JOB_IN_DOUBT` after rolling back;
 * `COMMIT_OUTCOME_UNKNOWN` when nobody can say yet whether it committed; `TX_NESTED` inside another one on the same SQLite file; `NOT_STARTED`.
 * Errors of the database pass unwrapped, serialization failures and deadlocks among them: call it again for those.
 * @example
 * await inTransaction(stepping, dataSource, async ({ manager, job }) => {
 *   const order = await manager.save(Order, input);
 *   job.addStep(sendOrderEmail, { orderId: order.id });
 * });
 */
export async function inTransaction<R>(
  stepping: Stepping<any>,
  target: DataSource | InTransactionTarget,
  work: (tx: BusinessScope) => Promise<R>,
): Promise<R> {
  const options: InTransactionTarget = 'createQueryRunner' in target ? { dataSource: target } : target;
  return stepping.resolve(TransactionScope).run(async () => {
    const database = await findDatabase(stepping.resolve(DbProviders), options.dataSource, options);
    return withTransaction(database, (transaction) => run(stepping, transaction, options, work));
  });
}

async function run<R>(
  stepping: Stepping<any>,
  transaction: BusinessTransaction,
  { gid, tenant, isolationLevel }: InTransactionTarget,
  work: (tx: BusinessScope) => Promise<R>,
): Promise<R> {
  const job = stepping.createJob({ transaction, gid, tenant });
  await transaction.begin(isolationLevel, () => stepping.resolve(TransactionScope).barrierOf(job));
  const body = new BodyJob(job);
  const { runner } = transaction;
  const result = await work({ manager: runner.manager, queryRunner: runner, job: body });
  body.end();
  if (job.stepCount === 0) await transaction.commit();
  else await job.start();
  return result;
}
