import type { InDoubtAnswer, Turns } from '@stepping/core';
import { fileTurns, ownDataSource, runMigrations, type SqliteConnection, sqliteConnectionOf, untilNotBusy } from '@stepping/typeorm';
import type { DataSource } from 'typeorm';
import { type BarrierTable, barrierMigrations, barrierTableOf } from './barrier-table.js';
import { answerOf, type Barriers, LOCK_TIMEOUT_MS } from './barriers.js';
import { insertBarrier } from './sql/insert-barrier.js';
import { purgeBarriers } from './sql/purge-barriers.js';
import { selectReason } from './sql/select-reason.js';

export class SqliteBarriers implements Barriers {
  readonly #users: DataSource;
  readonly #turns: Turns;
  readonly #table: BarrierTable;
  #own: Promise<DataSource> | undefined;

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

  async close(): Promise<void> {
    const own = await this.#own?.catch(() => undefined);
    this.#own = undefined;
    await own?.destroy();
  }

  async #read(gid: string, instance: string): Promise<{ reason: string } | undefined> {
    const connection = sqliteConnectionOf(await this.#opened());
    // Without WAL even a reader is kept out while a commit is written.
    return untilNotBusy(() => connection.prepare(selectReason(this.#table)).get(gid, instance), LOCK_TIMEOUT_MS);
  }

  async #write(statement: (connection: SqliteConnection) => void): Promise<void> {
    const connection = sqliteConnectionOf(await this.#opened());
    const deadline = performance.now() + LOCK_TIMEOUT_MS;
    await withinTurn(this.#turns, LOCK_TIMEOUT_MS, () =>
      untilNotBusy(() => inOneGo(connection, () => statement(connection)), deadline - performance.now()),
    );
  }

  #opened(): Promise<DataSource> {
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
function inOneGo(connection: SqliteConnection, work: () => void): void {
  connection.exec('begin immediate');
  try {
    work();
    connection.exec('commit');
  } finally {
    if (connection.inTransaction) connection.exec('rollback');
  }
}

/** Like `turns.run`, but gives up when the turn has not come in time. A caller that has the turn already needs no other: its own transaction has ended, or the lock of the file says so. */
async function withinTurn(turns: Turns, timeoutMs: number, work: () => Promise<void>): Promise<void> {
  if (turns.heldByCaller()) return work();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let waiting = true;
  const timer = setTimeout(() => {
    waiting = false;
    reject(new Error(`Others write to ${turns.key} all the time`));
  }, timeoutMs);
  turns
    .run(async () => {
      clearTimeout(timer);
      if (waiting) await work();
    })
    .then(resolve, reject);
  return promise;
}
