import type { InDoubtAnswer } from '@stepping/core';
import { ownDataSource, type PostgresConnection, runMigrations, withPostgresConnection } from '@stepping/typeorm';
import type { DataSource } from 'typeorm';
import { type BarrierTable, barrierMigrations, barrierTableOf } from './barrier-table.js';
import { answerOf, type Barriers, LOCK_TIMEOUT_MS } from './barriers.js';
import { insertBarrier } from './sql/insert-barrier.js';
import { purgeBarriers } from './sql/purge-barriers.js';
import { selectReason } from './sql/select-reason.js';
import { deleteEffects, deleteReceived, selectEffects } from './sql/sweep-barriers.js';

/** In-doubt questions wait for locks; only so many at a time, so that `hasCommitted` always finds a connection. */
const QUESTIONS_AT_A_TIME = 2;
const POOL_SIZE = QUESTIONS_AT_A_TIME + 1;
/** Well above {@link LOCK_TIMEOUT_MS}: only for a server that does not answer at all. Unit: ms. */
const QUERY_TIMEOUT_MS = 10_000;

export class PostgresBarriers implements Barriers {
  readonly #users: DataSource;
  #own: Promise<DataSource> | undefined;
  #closed = false;
  #asking = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(users: DataSource) {
    this.#users = users;
  }

  async migrate(): Promise<void> {
    await runMigrations(await this.#connected(), barrierMigrations);
  }

  async resolveInDoubt(gid: string, instance: string): Promise<InDoubtAnswer> {
    await this.#enter();
    try {
      const own = await this.#connected();
      const table = barrierTableOf(own);
      return await withPostgresConnection(own, async (connection) => {
        await claimForRollback(connection, insertBarrier(table), [gid, instance, 'rollback']);
        // Only now: a verdict that is read before our own barrier is there for good can still be overtaken by the other side (R1).
        const { rows } = await connection.query(selectReason(table), [gid, instance]);
        return answerOf(rows[0]);
      });
    } finally {
      this.#leave();
    }
  }

  async hasCommitted(gid: string, instance: string): Promise<boolean> {
    return (await this.#run(selectReason, [gid, instance])).rows[0]?.reason === 'msg';
  }

  async purge(gids: readonly string[]): Promise<void> {
    await this.#run(purgeBarriers, [gids]);
  }

  async deleteReceived(olderThanMs: number, limit: number): Promise<number> {
    return (await this.#run(deleteReceived, [olderThanMs, limit])).rowCount ?? 0;
  }

  async effectsOf(olderThanMs: number, after: string, limit: number): Promise<string[]> {
    const { rows } = await this.#run(selectEffects, [olderThanMs, after, limit]);
    return rows.map(({ gid }) => gid);
  }

  async deleteEffects(olderThanMs: number, gids: readonly string[]): Promise<void> {
    await this.#run(deleteEffects, [olderThanMs, gids]);
  }

  async close(): Promise<void> {
    this.#closed = true;
    const own = await this.#own?.catch(() => undefined);
    this.#own = undefined;
    await own?.destroy();
  }

  async #run(statement: (table: BarrierTable) => string, values: readonly unknown[]) {
    const own = await this.#connected();
    return withPostgresConnection(own, (connection) => connection.query(statement(barrierTableOf(own)), values));
  }

  // Connects when first asked, and again after a failure: a database that is down now may be up when the next question comes.
  async #connected(): Promise<DataSource> {
    if (this.#closed) throw new Error('Closed: the app was stopped, or the credentials of the database were changed');
    this.#own ??= ownDataSource(this.#users, { poolSize: POOL_SIZE, queryTimeoutMs: QUERY_TIMEOUT_MS })
      .initialize()
      .catch((error: unknown) => {
        this.#own = undefined;
        throw error;
      });
    return this.#own;
  }

  async #enter(): Promise<void> {
    if (this.#asking < QUESTIONS_AT_A_TIME) this.#asking++;
    else await new Promise<void>((enter) => this.#waiting.push(enter)); // who leaves hands over the place
  }

  #leave(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#asking--;
  }
}

/** Waits while the transaction in doubt is open, for a bounded time. The settings end with our transaction, so a pooler in between keeps none of them. */
async function claimForRollback(connection: PostgresConnection, insert: string, values: readonly string[]): Promise<void> {
  await connection.query(`begin isolation level read committed read write; set local lock_timeout = ${LOCK_TIMEOUT_MS}`);
  await connection.query(insert, values);
  await connection.query('commit');
}
