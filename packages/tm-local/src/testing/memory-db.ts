import { type DbProvider, DbProviders, type DbRef, type InDoubtAnswer, type SteppingPlugin } from '@stepping/core';
import { Clock } from '../clock.js';
import { barrierKey, MemoryDatabase } from '../memory-database.js';

/** First part of the `DbRef` of an in-memory database. */
export const MEMORY_PROVIDER = 'memory';

/** What {@link memoryDb} makes. */
export interface MemoryDbPlugin extends SteppingPlugin {
  /** Its data: everybody who is given this very plugin shares them. */
  readonly database: MemoryDatabase;
}

/** A business database in memory, apart from any store: for tests of the two-phase path. Default name: `'default'`. */
export function memoryDb(options: { name?: string | undefined } = {}): MemoryDbPlugin {
  const database = new MemoryDatabase(options.name ?? 'default');
  return {
    name: `memory-db(${database.name})`,
    database,
    start(resolver) {
      database.clock = resolver.resolve(Clock);
      resolver.resolve(DbProviders).add(new MemoryDbProvider(database));
    },
  };
}

/** How long an in-doubt question waits for an open transaction. Real time. Unit: ms. */
const RESOLVE_TIMEOUT_MS = 1_000;
/** Younger barriers may be those of a gid that was started anew. Unit: ms. */
const MIN_PURGE_AGE_MS = 1_800_000;

export class MemoryDbProvider implements DbProvider {
  readonly provider = MEMORY_PROVIDER;
  readonly name: string;
  readonly database: MemoryDatabase;

  constructor(database: MemoryDatabase) {
    this.database = database;
    this.name = database.name;
  }

  async resolveInDoubt(gid: string, instance: string, _ref: DbRef): Promise<InDoubtAnswer> {
    const { barriers, clock } = this.database;
    const key = barrierKey(gid, instance);
    const reason = await barriers.whenFree(key, RESOLVE_TIMEOUT_MS, () => {
      const found = barriers.read(key);
      if (!found) barriers.write(key, { gid, reason: 'rollback', createdAt: clock.now() });
      return found?.reason ?? 'rollback';
    });
    if (reason === 'locked') return 'unknown';
    return reason === 'msg' ? 'committed' : 'rolled-back';
  }

  async hasCommitted(gid: string, instance: string, _ref: DbRef): Promise<boolean> {
    return this.database.barriers.read(barrierKey(gid, instance))?.reason === 'msg';
  }

  async purgeBarriers(gids: readonly string[], _ref: DbRef): Promise<void> {
    const { barriers, clock } = this.database;
    const youngest = clock.now() - MIN_PURGE_AGE_MS;
    const old = barriers.entries().filter(([key, row]) => gids.includes(row.gid) && row.createdAt <= youngest && !barriers.isLocked(key));
    for (const [key] of old) barriers.write(key, undefined);
  }

  async migrate(): Promise<void> {}
}
