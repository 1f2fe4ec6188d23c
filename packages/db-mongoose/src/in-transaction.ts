import { DbProviders, type JobBuilder, type Stepping, SteppingError, TransactionScope } from '@stepping/core';
import { BodyJob } from '@stepping/core/db';
import type { ClientSession, Connection } from 'mongoose';
import { asTarget, findDatabase } from './find-database.js';
import { OwnedTransaction } from './held-transaction.js';
import { reserveCommit } from './mongoose-transaction.js';

/** What {@link inTransaction} opens its transaction on, beside a mere connection. */
export interface InTransactionTarget {
  /** Default: the one registered as `db`. */
  readonly connection?: Connection | undefined;
  /** Name of a database that `mongooseDb` registered. Default: the one registered with `connection`; without that, `'default'`. */
  readonly db?: string | undefined;
  /** Also handed to every step as `ctx.tenant`. */
  readonly tenant?: string | undefined;
  /** Gid of the job: a repeat of the call is then recognised (`JOB_DUPLICATE`), and rolled back. Default: a new one. */
  readonly gid?: string | undefined;
}

/** What the body works with. */
export interface BusinessScope {
  /** What is given it is in the transaction, and nothing else: `Order.create([input], { session })`, `order.save({ session })`, `Order.find().session(session)`. */
  readonly session: ClientSession;
  /** Starts when the transaction commits; without steps there is no job. */
  readonly job: JobBuilder;
}

/**
 * Opens a business transaction by `connection.transaction()`, runs `work` in it, commits, and then submits the job that `work` added steps to: they run if, and only if, the transaction committed. If
 * `work` throws, the transaction is rolled back and the error passes as it is.
 *
 * As with `connection.transaction()`, `work` runs again when MongoDB asks for it (a write conflict, a fail-over): each run has a job of its own, and only that of the last one counts. So make
 * documents inside of `work`, and do nothing in it that must not happen twice. The commit asks for a majority, and is sent again for up to two minutes while its outcome is unknown.
 *
 * @throws {@link SteppingError} `DB_UNKNOWN` or `DB_MISMATCH` if the database is not registered by `mongooseDb`; `STORE_UNAVAILABLE` for a connection that is closed; `JOB_DUPLICATE` or `JOB_IN_DOUBT` after rolling
 * back; `COMMIT_OUTCOME_UNKNOWN` when nobody can say yet whether it committed; `TX_NOT_ACTIVE` if `work` ended the transaction itself; `NOT_STARTED`. Errors of MongoDB pass unwrapped.
 * @example
 * await inTransaction(stepping, connection, async ({ session, job }) => {
 *   const [order] = await Order.create([input], { session });
 *   job.addStep(sendOrderEmail, { orderId: order.id });
 * });
 */
export async function inTransaction<R>(
  stepping: Stepping<any>,
  target: Connection | InTransactionTarget,
  work: (tx: BusinessScope) => Promise<R>,
): Promise<R> {
  const options: InTransactionTarget = asTarget(target);
  return stepping.resolve(TransactionScope).run(async () => {
    const { connection } = await findDatabase(stepping.resolve(DbProviders), options);
    return withTransaction(connection, (session) => {
      const transaction = new OwnedTransaction(session, options.connection ? options : { ...options, connection });
      return run(stepping, transaction, options, work);
    });
  });
}

/**
 * `connection.transaction()`, with a callback that commits. The driver runs it again after an error that asks for it, of the commit as of any statement, and Mongoose then resets the documents that
 * were saved in it: after a commit of the driver's own it would not.
 */
export async function withTransaction<R>(connection: Connection, run: (session: ClientSession) => Promise<R>): Promise<R> {
  let failed: { readonly error: unknown } | undefined;
  try {
    return await connection.transaction(
      async (session) => {
        failed = undefined;
        reserveCommit(session);
        try {
          return await run(session);
        } catch (error) {
          failed = { error };
          throw error;
        }
      },
      // Whatever the connection says: `w: 1` could be undone after the job has run, and only the primary has transactions.
      { writeConcern: { w: 'majority' }, readPreference: 'primary' },
    );
  } catch (error) {
    // After an error that is not its own the driver aborts once more, and complains where that is done already: what the callback said counts.
    throw failed ? failed.error : error;
  }
}

async function run<R>(
  stepping: Stepping<any>,
  transaction: OwnedTransaction,
  { gid, tenant }: InTransactionTarget,
  work: (tx: BusinessScope) => Promise<R>,
): Promise<R> {
  const job = stepping.createJob({ transaction, gid, tenant });
  const body = new BodyJob(job);
  const result = await work({ session: transaction.native.handle, job: body }).finally(() => body.end());
  if (job.stepCount === 0) await transaction.commit();
  else await job.start();
  return result;
}
