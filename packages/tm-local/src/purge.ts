import type { DbProviders, DbRef, Logger } from '@stepping/core';
import type { Clock } from './clock.js';
import type { PurgingJob, TransactionStore } from './transaction-store.js';

/** No job is purged that finished less than an hour ago; half of it is "half the retention" of R9. Unit: ms. */
export const MIN_RETENTION_MS = 3_600_000;
/** Jobs per batch. */
const BATCH = 500;
/**
 * A purger that was away for so long deletes no barriers any more: another one may have taken its rows over and ended, and a gid may have
 * been started anew. Far below the ten minutes after which rows are taken over. Unit: ms.
 */
const BARRIERS_WITHIN_MS = 60_000;

interface PurgerDeps {
  readonly store: TransactionStore;
  readonly databases: DbProviders;
  readonly clock: Clock;
  readonly log: Required<Logger>;
}

/** Removes old jobs by the three writes of R5: mark, delete the barriers in their databases, delete the row. Resumable after each. */
export class Purger {
  readonly #deps: PurgerDeps;

  constructor(deps: PurgerDeps) {
    this.#deps = deps;
  }

  /** One batch. `more`: it was full. Jobs whose database does not answer stay marked and are taken up again later. */
  async purgeBatch(age: { finishedMsAgo: number; failedMsAgo: number }): Promise<{ purged: number; more: boolean }> {
    const { store, clock, log } = this.#deps;
    const markedAt = clock.monotonicMs();
    const marked = await store.startPurge({
      finishedMsAgo: Math.max(age.finishedMsAgo, MIN_RETENTION_MS),
      failedMsAgo: Math.max(age.failedMsAgo, MIN_RETENTION_MS),
      limit: BATCH,
    });
    const cleared: PurgingJob[] = [];
    for (const [, jobs] of groupByDatabase(marked)) {
      if (clock.monotonicMs() - markedAt > BARRIERS_WITHIN_MS) break;
      const db = jobs[0]?.db;
      try {
        if (db) await this.#deleteBarriers(jobs, db);
        cleared.push(...jobs);
      } catch (error) {
        log.warn('barriers of finished jobs could not be deleted; their jobs are kept and tried again', { db, jobs: jobs.length, error });
      }
    }
    const purged = cleared.length === 0 ? 0 : await store.finishPurge(cleared.toSorted((a, b) => (a.gid < b.gid ? -1 : 1)));
    return { purged, more: marked.length === BATCH };
  }

  async #deleteBarriers(jobs: readonly PurgingJob[], db: DbRef): Promise<void> {
    const provider = this.#deps.databases.find(db);
    if (!provider) throw new Error(`No plugin serves the database ${db.provider}/${db.name}`);
    await provider.purgeBarriers(
      jobs.map(({ gid }) => gid),
      db,
    );
  }
}

function groupByDatabase(jobs: readonly PurgingJob[]): Map<string, PurgingJob[]> {
  return Map.groupBy(jobs, ({ db }) => (db ? JSON.stringify([db.provider, db.name, db.tenant]) : ''));
}
