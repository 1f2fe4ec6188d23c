import type { Turns } from '@stepping/core';
import { fileTurns, type SqliteConnection, sqliteConnectionOf, untilNotBusy } from '@stepping/typeorm';
import type { DataSource } from 'typeorm';
import { OwnConnections } from './own-connections.js';
import { LOCK_TIMEOUT_MS } from './send.js';

/** A SQLite file, over a connection of our own that takes its turn with all writers of this process. */
export class SqliteFile {
  readonly own: OwnConnections;
  readonly #turns: Turns;

  constructor(users: DataSource) {
    this.own = new OwnConnections(users, { poolSize: 1 });
    this.#turns = fileTurns(users);
  }

  async read<R>(select: (connection: SqliteConnection) => R): Promise<R> {
    const connection = sqliteConnectionOf(await this.own.get());
    // Without WAL even a reader is kept out while a commit is written.
    return untilNotBusy(() => select(connection), LOCK_TIMEOUT_MS);
  }

  /** `statement` has the lock of the file, and no await in it; what it wrote is committed. */
  async write<R>(statement: (connection: SqliteConnection) => R): Promise<R> {
    const connection = sqliteConnectionOf(await this.own.get());
    const deadline = performance.now() + LOCK_TIMEOUT_MS;
    return withinTurn(this.#turns, LOCK_TIMEOUT_MS, () =>
      untilNotBusy(() => inOneGo(connection, () => statement(connection)), deadline - performance.now()),
    );
  }
}

/** Without an await in between: a statement of the user's on another connection of this process would wait for our lock, and block the event loop that gives it back. */
function inOneGo<R>(connection: SqliteConnection, work: () => R): R {
  connection.exec('begin immediate');
  try {
    const result = work();
    connection.exec('commit');
    return result;
  } finally {
    if (connection.inTransaction) connection.exec('rollback');
  }
}

/** Like `turns.run`, but gives up when the turn has not come in time. A caller that has the turn already needs no other: its own transaction has ended, or the lock of the file says so. */
async function withinTurn<R>(turns: Turns, timeoutMs: number, work: () => Promise<R>): Promise<R> {
  if (turns.heldByCaller()) return work();
  const { promise, resolve, reject } = Promise.withResolvers<R>();
  let waiting = true;
  const timer = setTimeout(() => {
    waiting = false;
    reject(Object.assign(new Error(`Others write to ${turns.key} all the time`), { code: 'SQLITE_BUSY' }));
  }, timeoutMs);
  turns
    .run(async () => {
      clearTimeout(timer);
      if (waiting) await work().then(resolve, reject);
    })
    .catch(reject);
  return promise;
}
