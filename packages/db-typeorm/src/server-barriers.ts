import type { InDoubtAnswer } from '@stepping/core';
import { answerOf, type Barriers, Places } from '@stepping/core/db';
import type { DataSource } from 'typeorm';
import type { OwnConnections } from './own-connections.js';
import type { Answer, Send } from './send.js';
import { purgeBarriers } from './sql/purge-barriers.js';
import { selectReason } from './sql/select-reason.js';
import { deleteEffects, deleteReceived, selectEffects } from './sql/sweep-barriers.js';
import { barrierTableOf, type Table } from './tables.js';

/** In-doubt questions wait for locks; only so many at a time, so that `hasCommitted` always finds a connection. */
export const QUESTIONS_AT_A_TIME = 2;

/** The reason in a barrier's row; undefined where there is none. */
export type Reason = { readonly reason: string } | undefined;

/** The barrier table of a database on a server, over a small pool of our own. */
export abstract class ServerBarriers implements Barriers {
  readonly #own: OwnConnections;
  readonly #questions = new Places(QUESTIONS_AT_A_TIME);

  constructor(own: OwnConnections) {
    this.#own = own;
  }

  /**
   * Inserts the barrier for a rollback, waiting a bounded time while the transaction in doubt is open. Only when that insert's commit is acknowledged does it read the
   * reason: a verdict read before could still be overtaken by the other side (R1).
   */
  protected abstract claimAndRead(own: DataSource, table: Table, gid: string, instance: string): Promise<Reason>;
  protected abstract readonly send: Send;
  /** A list of gids as this database takes it. */
  protected abstract list(gids: readonly string[]): unknown;

  resolveInDoubt(gid: string, instance: string): Promise<InDoubtAnswer> {
    return this.#questions.run(async () => {
      const own = await this.#own.get();
      return answerOf((await this.claimAndRead(own, barrierTableOf(own), gid, instance))?.reason);
    });
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

  async #run(statement: (table: Table) => string, values: readonly unknown[]): Promise<Answer> {
    const own = await this.#own.get();
    return this.send(own, statement(barrierTableOf(own)), values);
  }
}
