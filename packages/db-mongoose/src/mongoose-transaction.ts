import { type DbTransaction, SteppingError } from '@stepping/core';
import type { ClientSession, Connection } from 'mongoose';
import { asTarget } from './find-database.js';
import { HeldTransaction, OwnedTransaction } from './held-transaction.js';

/** A database by the name that was given to `mongooseDb`. */
export interface NamedDatabase {
  readonly db: string;
  /** Where there is a database per tenant. */
  readonly tenant?: string | undefined;
}

const committedByUs = new WeakSet<ClientSession>();

/**
 * Your own open transaction, for `createJob({ transaction })`. `job.start()` commits for you, also inside the callback of `connection.transaction(fn)`, which then leaves it at that; or call `job.prepare()`,
 * commit, and then `job.submit()`.
 *
 * It stands for the transaction that is open now, not for a later one of the same session: where the driver runs your callback again, make the job inside of the callback. The
 * database is that of a connection, or has a name; {@link mongooseDb} must have made it known, and the session must be of its client.
 *
 * @throws {@link SteppingError} `CONFIG_INVALID` for something that is no session.
 * @example
 * session.startTransaction({ writeConcern: { w: 'majority' } });
 * const job = stepping.createJob({ transaction: mongooseTransaction(session, connection) });
 */
export function mongooseTransaction(session: ClientSession, database: Connection | NamedDatabase): DbTransaction {
  if (typeof session?.commitTransaction !== 'function') {
    throw new SteppingError(
      'CONFIG_INVALID',
      'mongooseTransaction() takes a session, of `await connection.startSession()`, and its connection or { db, tenant }.',
    );
  }
  const target = asTarget(database);
  return committedByUs.has(session) ? new HeldTransaction(session, target) : new OwnedTransaction(session, target);
}

/** `inTransaction` commits this one: a job that somebody ties to it by hand must not. */
export function reserveCommit(session: ClientSession): void {
  committedByUs.add(session);
}
