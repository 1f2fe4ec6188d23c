import { describe, expect, it } from '@jest/globals';
import { type DbProvider, type DbRef, silentLogger } from '@stepping/core';
import { MemoryTransactionStore, memoryStore } from './memory-store.js';
import { Purger } from './purge.js';
import { virtualClock } from './testing/virtual-clock.js';

const HOUR_MS = 3_600_000;
const refOf = (tenant: string): DbRef => ({ provider: 'memory', name: 'tenants', tenant });

/** Finished jobs, and databases of tenants with what was asked of them. */
function setUp() {
  const clock = virtualClock();
  const { database } = memoryStore();
  database.clock = clock;
  const store = new MemoryTransactionStore(database);
  const purged: string[] = [];
  const answers = new Map<string, () => Promise<void>>();
  const provider: DbProvider = {
    provider: 'memory',
    name: 'tenants',
    resolveInDoubt: async () => 'unknown',
    hasCommitted: async () => false,
    async purgeBarriers(gids, { tenant = '' }) {
      await answers.get(tenant)?.();
      purged.push(...gids.map((gid) => `${tenant} ${gid}`));
    },
    migrate: async () => {},
  };
  const purger = new Purger({ store, databases: { add() {}, find: () => provider, all: () => [provider] }, clock, log: silentLogger });
  return {
    clock,
    store,
    answers,
    purged: () => purged.splice(0).sort(),
    purge: () => purger.purgeBatch({ finishedMsAgo: HOUR_MS, failedMsAgo: HOUR_MS }),
    async finished(gid: string, { db, uses = [] }: { db?: string; uses?: readonly string[] }) {
      const job = {
        gid,
        instance: 'i',
        status: 'submitted',
        queue: 'default',
        tenant: undefined,
        steps: '{"v":1,"steps":[]}',
        lease: 1,
      } as const;
      await store.create([{ ...job, db: db === undefined ? undefined : refOf(db), held: false, dueInMs: 0 }]);
      const end = { gid, lease: 1, step: 1, attempt: 1, giveUp: true, dueInMs: undefined, queue: undefined, error: undefined };
      await store.save([{ ...end, status: 'succeeded', barrierDbs: uses.map(refOf) }]);
    },
  };
}

describe('a purge', () => {
  it('deletes the barriers of a job in every database that has some, once', async () => {
    const t = setUp();
    await t.finished('plain', {});
    await t.finished('tied', { db: 'a' });
    await t.finished('once', { uses: ['b', 'c'] });
    await t.finished('both', { db: 'a', uses: ['a', 'b'] });
    await t.clock.advance(HOUR_MS);
    expect(await t.purge()).toEqual({ purged: 4, more: false });
    expect(t.purged()).toEqual(['a both', 'a tied', 'b both', 'b once', 'c once']);
    for (const gid of ['plain', 'tied', 'once', 'both']) expect(await t.store.find(gid)).toBeUndefined();
  });

  it('keeps jobs of which one database does not answer, and those alone, until it does', async () => {
    const t = setUp();
    t.answers.set('dead', () => Promise.reject(new Error('down')));
    await t.finished('dead', { uses: ['dead'] });
    await t.finished('half', { db: 'a', uses: ['dead'] });
    await t.finished('alive', { db: 'a' });
    await t.clock.advance(HOUR_MS);
    expect(await t.purge()).toEqual({ purged: 1, more: false });
    expect(t.purged()).toEqual(['a alive', 'a half']);
    t.answers.clear();
    await t.clock.advance(600_000);
    expect(await t.purge()).toEqual({ purged: 2, more: false });
    expect(t.purged()).toEqual(['a half', 'dead dead', 'dead half']);
  });

  it('lets databases that hang hold up no others, as long as they are few', async () => {
    const t = setUp();
    let answer = () => {};
    const late = new Promise<void>((resolve) => {
      answer = resolve;
    });
    for (let i = 0; i < 30; i++) {
      if (i < 5) t.answers.set(`tenant-${i}`, () => late);
      await t.finished(`job-${i}`, { db: `tenant-${i}` });
    }
    await t.clock.advance(HOUR_MS);
    const purging = t.purge();
    await t.clock.advance(50_000);
    expect(t.purged()).toHaveLength(25);
    answer();
    expect(await purging).toEqual({ purged: 30, more: false });
  });

  it('deletes no barriers any more once it was away for so long that another purge may be at it', async () => {
    const t = setUp();
    const { promise: late, resolve: answer } = Promise.withResolvers<void>();
    for (let i = 0; i < 9; i++) {
      if (i < 8) t.answers.set(`tenant-${i}`, () => late);
      await t.finished(`job-${i}`, { db: `tenant-${i}` });
    }
    await t.clock.advance(HOUR_MS);
    const purging = t.purge();
    await t.clock.advance(60_001);
    answer();
    expect(await purging).toEqual({ purged: 8, more: false });
    expect(await t.store.find('job-8')).toMatchObject({ status: 'purging' });
  });
});
