import { setTimeout as sleep } from 'node:timers/promises';
import type { mongo } from 'mongoose';
import { isRefusedCommit, isUnknownCommit } from './driver-error.js';
import { TRANSACTION } from './own-client.js';

/**
 * How long a commit without an answer is sent again: one that never arrived leaves its transaction open in the server, and the gids that it wrote in conflict with everybody, for a minute. Unit: ms.
 */
const COMMIT_TIMEOUT_MS = 5_000;
/** Before it is sent again: from the first to the last, doubling. Unit: ms. */
const MIN_PAUSE_MS = 5;
const MAX_PAUSE_MS = 320;

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
    await commit(session);
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

/** The server knows a commit by the number of its transaction, and answers for the one that it has done. */
async function commit(session: mongo.ClientSession): Promise<void> {
  const deadline = performance.now() + COMMIT_TIMEOUT_MS;
  for (let pauseMs = MIN_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, MAX_PAUSE_MS)) {
    try {
      await session.commitTransaction();
      return;
    } catch (cause) {
      if (isRefusedCommit(cause)) throw new NotCommitted('The server refused the commit', { cause });
      if (!isUnknownCommit(cause) || performance.now() >= deadline) throw cause;
    }
    await sleep(pauseMs);
  }
}
