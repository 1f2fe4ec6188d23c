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
/** Several at once: databases that are down take their time to say so, and must not use up that of the others. */
const DATABASES_AT_A_TIME = 8;

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
    const kept = new Set<string>();
    await inParallel(groupByDatabase(marked), DATABASES_AT_A_TIME, async ({ db, gids }) => {
      try {
        if (clock.monotonicMs() - markedAt > BARRIERS_WITHIN_MS) throw new Error('Other databases took too long');
        await this.#deleteBarriers(gids, db);
      } catch (error) {
        for (const gid of gids) kept.add(gid);
        log.warn('barriers of finished jobs could not be deleted; their jobs are kept and tried again', { db, jobs: gids.length, error });
      }
    });
    const cleared = marked.filter(({ gid }) => !kept.has(gid));
    const purged = cleared.length === 0 ? 0 : await store.finishPurge(cleared.toSorted((a, b) => (a.gid < b.gid ? -1 : 1)));
    return { purged, more: marked.length === BATCH };
  }

  async #deleteBarriers(gids: readonly string[], db: DbRef): Promise<void> {
    const provider = this.#deps.databases.find(db);
    if (!provider) throw new Error(`No plugin serves the database ${db.provider}/${db.name}`);
    await provider.purgeBarriers(gids, db);
  }
}

interface DatabaseGroup {
  readonly db: DbRef;
  readonly gids: string[];
}

/** Each database with the jobs that have barriers in it; a job may be in several. */
function groupByDatabase(jobs: readonly PurgingJob[]): DatabaseGroup[] {
  const groups = new Map<string, DatabaseGroup>();
  for (const { gid, db, barrierDbs } of jobs) {
    for (const ref of db ? [db, ...barrierDbs] : barrierDbs) {
      const key = JSON.stringify([ref.provider, ref.name, ref.tenant]);
      const group = groups.get(key) ?? { db: ref, gids: [] };
      groups.set(key, group);
      if (group.gids.at(-1) !== gid) group.gids.push(gid);
    }
  }
  return [...groups.values()];
}

async function inParallel<T>(items: readonly T[], atATime: number, work: (item: T) => Promise<void>): Promise<void> {
  const open = items.values();
  const worker = async () => {
    for (const item of open) await work(item);
  };
  await Promise.all(Array.from({ length: atATime }, worker));
}
