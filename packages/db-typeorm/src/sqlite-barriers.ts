import type { InDoubtAnswer, Turns } from '@stepping/core';
import { fileTurns, ownDataSource, runMigrations, type SqliteConnection, sqliteConnectionOf, untilNotBusy } from '@stepping/typeorm';
import type { DataSource } from 'typeorm';
import { type BarrierTable, barrierMigrations, barrierTableOf } from './barrier-table.js';
import { answerOf, type Barriers, LOCK_TIMEOUT_MS } from './barriers.js';
import { insertBarrier } from './sql/insert-barrier.js';
import { purgeBarriers } from './sql/purge-barriers.js';
import { selectReason } from './sql/select-reason.js';
import { deleteEffects, deleteReceived, selectEffects } from './sql/sweep-barriers.js';

export class SqliteBarriers implements Barriers {
  readonly #users: DataSource;
  readonly #turns: Turns;
  readonly #table: BarrierTable;
  #own: Promise<DataSource> | undefined;
  #closed = false;

  constructor(users: DataSource) {
    this.#users = users;
    this.#turns = fileTurns(users);
    this.#table = barrierTableOf(users);
  }

  async migrate(): Promise<void> {
    await runMigrations(await this.#opened(), barrierMigrations);
  }

  /** The lock of the file is what waits for the other side: whoever has it knows that no transaction is open. */
  async resolveInDoubt(gid: string, instance: string): Promise<InDoubtAnswer> {
    await this.#write((connection) => connection.prepare(insertBarrier(this.#table)).run(gid, instance, 'rollback'));
    return answerOf(await this.#read(gid, instance));
  }

  async hasCommitted(gid: string, instance: string): Promise<boolean> {
    return (await this.#read(gid, instance))?.reason === 'msg';
  }

  async purge(gids: readonly string[]): Promise<void> {
    await this.#write((connection) => connection.prepare(purgeBarriers(this.#table)).run(JSON.stringify(gids)));
  }

  deleteReceived(olderThanMs: number, limit: number): Promise<number> {
    return this.#write((connection) => connection.prepare(deleteReceived(this.#table)).run(olderThanMs, limit).changes);
  }

  async effectsOf(olderThanMs: number, after: string, limit: number): Promise<string[]> {
    const connection = sqliteConnectionOf(await this.#opened());
    const select = () => connection.prepare(selectEffects(this.#table)).all(olderThanMs, after, limit);
    return (await untilNotBusy(select, LOCK_TIMEOUT_MS)).map(({ gid }) => gid);
  }

  async deleteEffects(olderThanMs: number, gids: readonly string[]): Promise<void> {
    await this.#write((connection) => connection.prepare(deleteEffects(this.#table)).run(olderThanMs, JSON.stringify(gids)));
  }

  async close(): Promise<void> {
    this.#closed = true;
    const own = await this.#own?.catch(() => undefined);
    this.#own = undefined;
    await own?.destroy();
  }

  async #read(gid: string, instance: string): Promise<{ reason: string } | undefined> {
    const connection = sqliteConnectionOf(await this.#opened());
    // Without WAL even a reader is kept out while a commit is written.
    return untilNotBusy(() => connection.prepare(selectReason(this.#table)).get(gid, instance), LOCK_TIMEOUT_MS);
  }

  async #write<R>(statement: (connection: SqliteConnection) => R): Promise<R> {
    const connection = sqliteConnectionOf(await this.#opened());
    const deadline = performance.now() + LOCK_TIMEOUT_MS;
    return withinTurn(this.#turns, LOCK_TIMEOUT_MS, () =>
      untilNotBusy(() => inOneGo(connection, () => statement(connection)), deadline - performance.now()),
    );
  }

  async #opened(): Promise<DataSource> {
    if (this.#closed) throw new Error('Closed: the app was stopped, or the credentials of the database were changed');
    this.#own ??= ownDataSource(this.#users, { poolSize: 1 })
      .initialize()
      .catch((error: unknown) => {
        this.#own = undefined;
        throw error;
      });
    return this.#own;
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
