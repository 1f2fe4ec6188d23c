import type { InDoubtAnswer } from '@stepping/core';
import { ownDataSource, runMigrations } from '@stepping/typeorm';
import type { DataSource } from 'typeorm';
import { type BarrierTable, barrierMigrations, barrierTableOf } from './barrier-table.js';
import { answerOf, type Barriers } from './barriers.js';
import { purgeBarriers } from './sql/purge-barriers.js';
import { selectReason } from './sql/select-reason.js';
import { deleteEffects, deleteReceived, selectEffects } from './sql/sweep-barriers.js';

/** In-doubt questions wait for locks; only so many at a time, so that `hasCommitted` always finds a connection. */
const QUESTIONS_AT_A_TIME = 2;
const POOL_SIZE = QUESTIONS_AT_A_TIME + 1;
/** Well above the wait for a lock: only for a server that does not answer at all. Unit: ms. */
export const QUERY_TIMEOUT_MS = 10_000;

/** The reason in a barrier's row; undefined where there is none. */
export type Reason = { readonly reason: string } | undefined;

/** Of one statement: its rows, and how many a write has changed. */
export interface Answer {
  readonly rows: any[];
  readonly affected: number;
}

/** The barrier table of a database on a server, over a small pool of our own. */
export abstract class ServerBarriers implements Barriers {
  readonly #users: DataSource;
  #own: Promise<DataSource> | undefined;
  #closed = false;
  #asking = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(users: DataSource) {
    this.#users = users;
  }

  /**
   * Inserts the barrier for a rollback, waiting a bounded time while the transaction in doubt is open. Only when that insert's commit is acknowledged does it read the
   * reason: a verdict read before could still be overtaken by the other side (R1).
   */
  protected abstract claimAndRead(own: DataSource, table: BarrierTable, gid: string, instance: string): Promise<Reason>;
  protected abstract send(own: DataSource, sql: string, values: readonly unknown[]): Promise<Answer>;
  /** A list of gids as this database takes it. */
  protected abstract list(gids: readonly string[]): unknown;

  async migrate(): Promise<void> {
    await runMigrations(await this.#connected(), barrierMigrations);
  }

  async resolveInDoubt(gid: string, instance: string): Promise<InDoubtAnswer> {
    await this.#enter();
    try {
      const own = await this.#connected();
      return answerOf(await this.claimAndRead(own, barrierTableOf(own), gid, instance));
    } finally {
      this.#leave();
    }
  }

  async hasCommitted(gid: string, instance: string): Promise<boolean> {
    return (await this.#run(selectReason, [gid, instance])).rows[0]?.reason === 'msg';
  }

  async purge(gids: readonly string[]): Promise<void> {
    await this.#run(purgeBarriers, [this.list(gids)]);
  }

  async deleteReceived(olderThanMs: number, limit: number): Promise<number> {
    return (await this.#run(deleteReceived, [olderThanMs, limit])).affected;
  }

  async effectsOf(olderThanMs: number, after: string, limit: number): Promise<string[]> {
    return (await this.#run(selectEffects, [olderThanMs, after, limit])).rows.map(({ gid }) => gid);
  }

  async deleteEffects(olderThanMs: number, gids: readonly string[]): Promise<void> {
    await this.#run(deleteEffects, [olderThanMs, this.list(gids)]);
  }

  async close(): Promise<void> {
    this.#closed = true;
    const own = await this.#own?.catch(() => undefined);
    this.#own = undefined;
    await own?.destroy();
  }

  async #run(statement: (table: BarrierTable) => string, values: readonly unknown[]): Promise<Answer> {
    const own = await this.#connected();
    return this.send(own, statement(barrierTableOf(own)), values);
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
