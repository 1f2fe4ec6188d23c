import { describe, expect, it } from '@jest/globals';
import { type DbProvider, type DbRef, type InDoubtAnswer, silentLogger } from '@stepping/core';
import { QueryBack } from './query-back.js';
import { virtualClock } from './testing/virtual-clock.js';
import type { ClaimedJob, Save } from './transaction-store.js';

const LATER_MS = 45_000;

/** One database per tenant; those in `down` cannot be reached, and a question to one that `hangs` has no answer until it is given one. */
function setUp() {
  const clock = virtualClock();
  const down = new Set<string>();
  const hanging: ((answer: InDoubtAnswer) => void)[] = [];
  const asked: string[] = [];
  const saves: Save[] = [];
  const events: string[] = [];
  let hangs = false;
  const provider: DbProvider = {
    provider: 'memory',
    name: 'tenants',
    async resolveInDoubt(gid, _instance, { tenant = '' }) {
      asked.push(gid);
      if (hangs) return new Promise((answer) => hanging.push(answer));
      return down.has(tenant) ? 'unknown' : 'committed';
    },
    isReachable: ({ tenant = '' }: DbRef) => !down.has(tenant),
    hasCommitted: async () => false,
    purgeBarriers: async () => {},
    migrate: async () => {},
  };
  const queryBack = new QueryBack({
    save: async (save) => {
      saves.push(save);
      return { answer: true, repeated: false };
    },
    databases: { add() {}, find: () => provider, all: () => [provider] },
    events: { emit: (event) => void events.push(event), hasListeners: () => true },
    log: silentLogger,
    clock,
    putBack() {},
  });
  const job = (gid: string, tenant: string | undefined, ageMs = 0): ClaimedJob => ({
    gid,
    instance: 'i',
    lease: 7,
    status: 'prepared',
    queue: '~db/memory/tenants',
    step: 0,
    attempt: 1,
    wasHeld: false,
    tenant,
    db: { provider: 'memory', name: 'tenants', ...(tenant === undefined ? {} : { tenant }) },
    steps: '{"v":1,"steps":[{"n":"a"}]}',
    ageMs,
  });
  const verdicts = () => saves.map(({ gid, status }) => `${gid} ${status}`);
  const hang = () => {
    hangs = true;
    return hanging;
  };
  return { clock, down, asked, saves, events, queryBack, job, verdicts, hang };
}

describe('the query-back', () => {
  it('asks one database two questions at a time, and the others beside it', async () => {
    const t = setUp();
    const hanging = t.hang();
    const resolved = ['a1', 'a2', 'a3', 'a4', 'b1'].map((gid) => t.queryBack.resolve(t.job(gid, gid[0])));
    await t.clock.advance(1);
    expect(t.asked).toEqual(['a1', 'a2', 'b1']);
    hanging[0]?.('committed');
    await t.clock.advance(1);
    expect(t.asked).toEqual(['a1', 'a2', 'b1', 'a3']);
    for (let i = 1; i < 5; i++) {
      hanging[i]?.('committed');
      await t.clock.advance(1);
    }
    await Promise.all(resolved);
    expect(t.verdicts().sort()).toEqual(['a1', 'a2', 'a3', 'a4', 'b1'].map((gid) => `${gid} submitted`));
  });

  it('puts jobs of a tenant whose database is down back unasked, but for one every five seconds', async () => {
    const t = setUp();
    t.down.add('a');
    await t.queryBack.resolve(t.job('a1', 'a'));
    for (let i = 2; i < 100; i++) await t.queryBack.resolve(t.job(`a${i}`, 'a', 3_600_000));
    expect(t.asked).toEqual(['a1']);
    expect(t.saves.every(({ status, dueInMs = 0 }) => status === 'prepared' && dueInMs >= 10_000 && dueInMs <= LATER_MS)).toBe(true);
    await t.queryBack.resolve(t.job('b1', 'b'));
    expect(t.asked).toEqual(['a1', 'b1']);
    await t.clock.advance(5_000);
    await Promise.all(['a100', 'a101', 'a102'].map((gid) => t.queryBack.resolve(t.job(gid, 'a'))));
    expect(t.asked).toEqual(['a1', 'b1', 'a100']);
  });

  it('asks about all of them again once one was answered', async () => {
    const t = setUp();
    t.down.add('a');
    await t.queryBack.resolve(t.job('a1', 'a'));
    t.down.delete('a');
    await t.clock.advance(5_000);
    for (const gid of ['a2', 'a3', 'a4']) await t.queryBack.resolve(t.job(gid, 'a'));
    expect(t.verdicts()).toEqual(['a1 prepared', 'a2 submitted', 'a3 submitted', 'a4 submitted']);
  });

  it('lets jobs go that wait for a place at a database when it is found to be down', async () => {
    const t = setUp();
    const hanging = t.hang();
    const resolved = ['a1', 'a2', 'a3', 'a4'].map((gid) => t.queryBack.resolve(t.job(gid, 'a')));
    await t.clock.advance(1);
    t.down.add('a');
    hanging[0]?.('unknown');
    await t.clock.advance(1);
    expect(t.verdicts().sort()).toEqual(['a1 prepared', 'a3 prepared', 'a4 prepared']);
    hanging[1]?.('unknown');
    await Promise.all(resolved);
    expect(t.asked).toEqual(['a1', 'a2']);
  });

  it('does not take a transaction that is still open for a database that is down', async () => {
    const t = setUp();
    const hanging = t.hang();
    for (const gid of ['a1', 'a2', 'a3']) {
      const resolved = t.queryBack.resolve(t.job(gid, 'a'));
      await t.clock.advance(1);
      hanging.at(-1)?.('unknown'); // waited for a lock
      await resolved;
    }
    expect(t.asked).toEqual(['a1', 'a2', 'a3']);
  });

  it('does not let one tenant have all the places: what finds none is put back soon, unless it may wait', async () => {
    const t = setUp();
    t.hang();
    for (let i = 0; i < 30; i++) void t.queryBack.resolve(t.job(`a${i}`, 'a'), { patient: false });
    await t.clock.advance(1);
    expect(t.asked).toEqual(['a0', 'a1']);
    expect(t.saves).toHaveLength(20);
    expect(t.saves.every(({ dueInMs = 0 }) => dueInMs >= 2_000 && dueInMs <= 10_000)).toBe(true);
    void t.queryBack.resolve(t.job('patient', 'a'));
    await t.clock.advance(1);
    expect(t.saves).toHaveLength(20);
  });

  it('has more in flight where tenants have databases of their own than where all jobs are of one', async () => {
    const t = setUp();
    const queue = '~db/memory/tenants';
    await t.queryBack.resolve(t.job('one', undefined));
    expect(t.queryBack.maxInFlight(queue)).toBe(10);
    await t.queryBack.resolve(t.job('a1', 'a'));
    expect(t.queryBack.maxInFlight(queue)).toBe(200);
  });

  it('tells of a job that was prepared too long also while its database is down', async () => {
    const t = setUp();
    t.down.add('a');
    await t.queryBack.resolve(t.job('a1', 'a', 3_600_000));
    await t.queryBack.resolve(t.job('a2', 'a', 3_600_000));
    expect(t.events).toEqual(['job.prepared-too-long', 'job.prepared-too-long']);
  });
});
