import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { SteppingError, type Turns } from '@stepping/core';
import { WriteRefused } from '@stepping/tm-local';
import { isBusy, isDefiniteRefusal, type SqliteConnection, type SqliteStatement, untilNotBusy } from '@stepping/typeorm';

/** Rows in one write transaction. It is synchronous, and 256 rows hold up the event loop for some 8 ms. */
export const MAX_ROWS = 256;
/** How long another process may hold the file's lock before a write is given up. Unit: ms. */
const BUSY_TIMEOUT_MS = 5_000;

/** After writing for so long without a break… Unit: ms. */
const MAX_UNBROKEN_MS = 100;
/** …the lock is left free for so long: other processes can only try now and then, and would never get it. Unit: ms. */
const BREAK_MS = 5;

// A turn that the caller of a write holds is the caller's, not the writer's: writes run outside of any call.
const outsideOfAnyCall = AsyncLocalStorage.snapshot();

/**
 * Our connection to the file. Whoever writes takes a turn, so the writers of this process never refuse one another, and writers of other processes are waited for
 * without blocking the event loop. A transaction is one synchronous function: nothing else of this process runs between its begin and its commit.
 */
export class SqliteWriter {
  readonly turns: Turns;
  readonly #connection: SqliteConnection;
  #unbrokenSince = 0;
  #lastEnd = 0;
  readonly #statements = new Map<string, SqliteStatement>();

  constructor(deps: { connection: SqliteConnection; turns: Turns }) {
    this.#connection = deps.connection;
    this.turns = deps.turns;
  }

  /** The prepared statement of this text; prepared once. */
  prepare(sql: string): SqliteStatement {
    const known = this.#statements.get(sql);
    if (known !== undefined) return known;
    const statement = this.#connection.prepare(sql);
    this.#statements.set(sql, statement);
    return statement;
  }

  /** Reads what is committed. Under WAL no writer stands in its way. */
  read<R>(work: () => R): Promise<R> {
    return untilNotBusy(work, BUSY_TIMEOUT_MS).catch((error) => {
      throw isBusy(error) ? this.#unavailable(error) : error;
    });
  }

  /**
   * Runs `work` in a write transaction of its own. Rejects with `STORE_UNAVAILABLE` when the lock was not to be had (within `waitMs`, which then includes the wait for the
   * turn), with {@link WriteRefused} when a statement of it was refused.
   */
  write<R>(work: () => R, waitMs?: number): Promise<R> {
    const { promise, resolve, reject } = Promise.withResolvers<R>();
    const deadline = waitMs === undefined ? undefined : performance.now() + waitMs;
    let givenUp = false;
    const giveUp = () => {
      givenUp = true;
      reject(this.#unavailable());
    };
    const timer = waitMs === undefined ? undefined : setTimeout(giveUp, waitMs);
    const turn = outsideOfAnyCall(() =>
      this.turns.run(async () => {
        if (givenUp) return; // nothing is written after the caller was told so
        clearTimeout(timer);
        const busyTimeoutMs = deadline === undefined ? BUSY_TIMEOUT_MS : deadline - performance.now();
        const began = performance.now();
        resolve(await untilNotBusy(() => this.#transaction(work), busyTimeoutMs));
        await this.#letOthersIn(began);
      }),
    );
    turn.catch((error) => reject(isBusy(error) ? this.#unavailable(error) : error));
    return promise;
  }

  async #letOthersIn(began: number): Promise<void> {
    // Less than a break between two writes is none.
    if (began - this.#lastEnd > BREAK_MS) this.#unbrokenSince = began;
    if (performance.now() - this.#unbrokenSince > MAX_UNBROKEN_MS) {
      await sleep(BREAK_MS);
      this.#unbrokenSince = performance.now();
    }
    this.#lastEnd = performance.now();
  }

  #transaction<R>(work: () => R): R {
    this.prepare('begin immediate').run();
    try {
      const result = work();
      this.prepare('commit').run();
      return result;
    } catch (error) {
      throw this.#rolledBack() && isDefiniteRefusal(error) && !isBusy(error) ? refused(error) : error;
    }
  }

  #rolledBack(): boolean {
    // SQLite rolls back by itself after some errors, such as a full disk.
    if (this.#connection.inTransaction) this.prepare('rollback').run();
    return !this.#connection.inTransaction;
  }

  #unavailable(cause?: unknown): SteppingError {
    return new SteppingError(
      'STORE_UNAVAILABLE',
      'The SQLite file of the store is locked by somebody else. Nothing was written. Look for a transaction that stays open, in this process or in another one.',
      { file: this.turns.key, cause },
    );
  }
}

function refused(error: unknown): WriteRefused {
  return new WriteRefused(`SQLite refused a write: ${error instanceof Error ? error.message : error}`, { cause: error });
}
