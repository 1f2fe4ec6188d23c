import { setTimeout as sleep } from 'node:timers/promises';
import { isBusy } from './database-error.js';

/** First wait; it doubles up to {@link MAX_WAIT_MS}. Unit: ms. */
const MIN_WAIT_MS = 1;
/** Others hold the lock of the file for a commit, some milliseconds, and a busy process leaves it free for as short (see the store's writer): longer waits would miss that. Unit: ms. */
const MAX_WAIT_MS = 5;

/**
 * Runs a statement that needs the lock of a SQLite file, again and again while another connection or process has it. It waits without blocking the event
 * loop, which SQLite's own busy timeout would: a holder in this very process could then never let go.
 *
 * @throws the driver's own `SQLITE_BUSY` after `timeoutMs`.
 */
export async function untilNotBusy<R>(statement: () => R | Promise<R>, timeoutMs: number): Promise<R> {
  const deadline = performance.now() + timeoutMs;
  for (let waitMs = MIN_WAIT_MS; ; waitMs = Math.min(waitMs * 2, MAX_WAIT_MS)) {
    try {
      return await statement();
    } catch (error) {
      if (!isBusy(error) || performance.now() >= deadline) throw error;
    }
    await sleep(waitMs * (0.5 + Math.random()));
  }
}
