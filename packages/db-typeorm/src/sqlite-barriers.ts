import type { InDoubtAnswer } from '@stepping/core';
import { answerOf, type Barriers } from '@stepping/core/db';
import { insertBarrier } from './sql/insert-barrier.js';
import { purgeBarriers } from './sql/purge-barriers.js';
import { selectReason } from './sql/select-reason.js';
import { deleteEffects, deleteReceived, selectEffects } from './sql/sweep-barriers.js';
import type { SqliteFile } from './sqlite-file.js';
import type { Table } from './tables.js';

export class SqliteBarriers implements Barriers {
  readonly #file: SqliteFile;
  readonly #table: Table;

  constructor(file: SqliteFile, table: Table) {
    this.#file = file;
    this.#table = table;
  }

  /** The lock of the file is what waits for the other side: whoever has it knows that no transaction is open. */
  async resolveInDoubt(gid: string, instance: string): Promise<InDoubtAnswer> {
    await this.#file.write((connection) => connection.prepare(insertBarrier(this.#table)).run(gid, instance, 'rollback'));
    return answerOf((await this.#reasonOf(gid, instance))?.reason);
  }

  async hasCommitted(gid: string, instance: string): Promise<boolean> {
    return (await this.#reasonOf(gid, instance))?.reason === 'msg';
  }

  async purge(gids: readonly string[]): Promise<void> {
    await this.#file.write((connection) => connection.prepare(purgeBarriers(this.#table)).run(JSON.stringify(gids)));
  }

  deleteReceived(olderThanMs: number, limit: number): Promise<number> {
    return this.#file.write((connection) => connection.prepare(deleteReceived(this.#table)).run(olderThanMs, limit).changes);
  }

  async effectsOf(olderThanMs: number, after: string, limit: number): Promise<string[]> {
    const select = selectEffects(this.#table);
    const rows = await this.#file.read((connection) => connection.prepare(select).all(olderThanMs, after, limit));
    return rows.map(({ gid }) => gid);
  }

  async deleteEffects(olderThanMs: number, gids: readonly string[]): Promise<void> {
    await this.#file.write((connection) => connection.prepare(deleteEffects(this.#table)).run(olderThanMs, JSON.stringify(gids)));
  }

  #reasonOf(gid: string, instance: string): Promise<{ reason: string } | undefined> {
    return this.#file.read((connection) => connection.prepare(selectReason(this.#table)).get(gid, instance));
  }
}
