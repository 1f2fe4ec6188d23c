import type { mongo } from 'mongoose';
import { isRefusedCommit } from './driver-error.js';
import { TRANSACTION } from './own-client.js';

/** A transaction of our own did not commit and never will: nothing of it was written. The cause says why. */
export class NotCommitted extends Error {
  override readonly name = 'NotCommitted';
}

/** Runs `work` in a transaction of our own. Rejects with {@link NotCommitted}; anything else means that the outcome of the commit is unknown. */
export async function inOwnTransaction<R>(client: mongo.MongoClient, work: (session: mongo.ClientSession) => Promise<R>): Promise<R> {
  const session = client.startSession();
  try {
    session.startTransaction(TRANSACTION);
    const result = await committable(session, work);
    await session.commitTransaction().catch((cause: unknown) => {
      throw isRefusedCommit(cause) ? new NotCommitted('The server refused the commit', { cause }) : cause;
    });
    return result;
  } finally {
    await session.endSession();
  }
}

async function committable<R>(session: mongo.ClientSession, work: (session: mongo.ClientSession) => Promise<R>): Promise<R> {
  try {
    return await work(session);
  } catch (cause) {
    await session.abortTransaction().catch(() => {}); // a commit was never sent, so it ends by itself
    throw new NotCommitted('A statement of the transaction failed', { cause });
  }
}
