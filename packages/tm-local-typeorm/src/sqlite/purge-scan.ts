import type { PurgingJob } from '@stepping/tm-local';
import { dbFromText, dbsFromText } from '../stored-text.js';
import type { SqliteStatements } from './sqlite-statements.js';
import { MAX_ROWS, type SqliteWriter } from './sqlite-writer.js';
import { idRanges } from './table-scan.js';

/**
 * Finds and marks the rows to be purged. No index serves that: it would cost every job more than a scan now and then. Each call goes on where the one before has stopped, so that the
 * batches of one purge read the table once.
 */
export class PurgeScan {
  readonly #writer: SqliteWriter;
  readonly #sql: SqliteStatements;
  #from = 0;

  constructor(writer: SqliteWriter, sql: SqliteStatements) {
    this.#writer = writer;
    this.#sql = sql;
  }

  async start(purge: { finishedMsAgo: number; failedMsAgo: number; limit: number }): Promise<readonly PurgingJob[]> {
    const ages = { finishedMsAgo: Math.round(purge.finishedMsAgo), failedMsAgo: Math.round(purge.failedMsAgo) };
    const select = this.#writer.prepare(this.#sql.selectPurgeable);
    const marked: PurgingJob[] = [];
    for await (const range of idRanges(this.#writer, this.#sql, this.#from)) {
      this.#from = range.after;
      for (;;) {
        const limit = Math.min(purge.limit - marked.length, MAX_ROWS);
        if (limit <= 0) return marked;
        const found: { gid: string }[] = await this.#writer.read(() => select.all({ ...range, ...ages, limit }));
        if (found.length > 0) marked.push(...(await this.#mark(found, ages)));
        if (found.length < limit) break;
      }
    }
    return marked;
  }

  #mark(found: readonly { gid: string }[], ages: { finishedMsAgo: number; failedMsAgo: number }): Promise<readonly PurgingJob[]> {
    const mark = this.#writer.prepare(this.#sql.startPurge);
    return this.#writer.write(() =>
      found.flatMap(({ gid }) => {
        const row: { lease: number; db: string | null; barrier_dbs: string | null } | undefined = mark.get({ gid, ...ages });
        return row === undefined ? [] : [{ gid, lease: row.lease, db: dbFromText(row.db), barrierDbs: dbsFromText(row.barrier_dbs) }];
      }),
    );
  }
}
