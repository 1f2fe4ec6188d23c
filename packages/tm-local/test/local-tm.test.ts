import { afterEach, describe, expect, it } from '@jest/globals';
import { createStepping, DbProviders, defineStep, gidFrom, type Stepping, type SteppingPlugin, unchecked } from '@stepping/core';
import { localTm, memoryStore, Store, type StorePlugin, type TransactionStore, WriteRefused } from '@stepping/tm-local';
import { createTestStepping, memoryDb, memoryTransaction } from '@stepping/tm-local/testing';
import { MemoryDbProvider } from '../src/testing/memory-db.js';

const apps: Stepping[] = [];
afterEach(async () => {
  await Promise.all(apps.splice(0).map((app) => app.stop({ drainTimeoutMs: 100 })));
});

/** A test app with a business database in memory, and the log of what its steps did. */
async function withDatabase() {
  const ran: string[] = [];
  const step = defineStep({ name: 'a', args: unchecked<{ n: number }>(), run: ({ args, gid }) => void ran.push(`${gid}:${args.n}`) });
  const db = memoryDb();
  const stepping = await createTestStepping({ steps: [step], use: [db] });
  apps.push(stepping);
  const told: string[] = [];
  for (const event of ['job.submitted', 'job.rolled-back', 'job.prepared-too-long', 'job.succeeded'] as const) {
    stepping.on(event, () => void told.push(event));
  }
  const prepared = async (gid = 'g') => {
    const transaction = memoryTransaction(db);
    const job = stepping.createJob({ gid, transaction });
    await job.addStep(step, { n: 1 }).addStep(step, { n: 2 }).prepare();
    return { transaction, job };
  };
  return { stepping, step, db, ran, told, prepared };
}

describe('a job tied to a transaction of another database', () => {
  it('runs once its transaction committed, in order', async () => {
    const { stepping, prepared, ran, told } = await withDatabase();
    const { transaction, job } = await prepared();
    await stepping.drain();
    expect(ran).toEqual([]);
    await transaction.commit();
    expect(await job.submit()).toBe('submitted');
    await stepping.drain();
    expect(ran).toEqual(['g:1', 'g:2']);
    expect(told).toEqual(['job.submitted', 'job.succeeded']);
  });

  it('runs by the query-back when its process died between commit and submit', async () => {
    const { stepping, prepared, ran, told } = await withDatabase();
    const { transaction } = await prepared();
    await transaction.commit();
    await stepping.clock.advance(9_999);
    await stepping.drain();
    expect(ran).toEqual([]);
    await stepping.clock.advance(1);
    await stepping.drain();
    expect(ran).toEqual(['g:1', 'g:2']);
    expect(told).toEqual(['job.submitted', 'job.succeeded']);
  });

  it('never runs when its process died and its transaction rolled back; the gid can be started again', async () => {
    const { stepping, prepared, ran, told } = await withDatabase();
    const { transaction } = await prepared();
    await transaction.rollback();
    await stepping.clock.advance(10_000);
    await stepping.drain();
    expect(await stepping.jobs.find('g')).toMatchObject({ status: 'rolled-back' });
    expect(told).toEqual(['job.rolled-back']);
    const again = await prepared();
    await again.transaction.commit();
    await again.job.submit();
    await stepping.drain();
    expect(ran).toEqual(['g:1', 'g:2']);
  });

  it('is asked about again and again while its transaction is open, never decided, and runs after a late commit', async () => {
    const { stepping, prepared, ran, told } = await withDatabase();
    const { transaction } = await prepared();
    for (const waitMs of [10_000, 10_000, 20_000, 40_000]) {
      await stepping.clock.advance(waitMs);
      const asked = stepping.drain();
      // The question waits for the open transaction until its lock timeout.
      await stepping.clock.advance(1_000);
      await asked;
      expect(await stepping.jobs.find('g')).toMatchObject({ status: 'prepared' });
    }
    expect(told).toContain('job.prepared-too-long');
    await transaction.commit();
    await stepping.clock.advance(60_000);
    await stepping.drain();
    expect(ran).toEqual(['g:1', 'g:2']);
  });

  it('can be settled by hand only in agreement with a database that answers', async () => {
    const { stepping, prepared } = await withDatabase();
    const { transaction } = await prepared();
    await transaction.commit();
    await expect(stepping.jobs.settle('g', 'rolled-back', 'tenant left')).rejects.toMatchObject({ code: 'JOB_STATUS' });
    await stepping.jobs.settle('g', 'submitted', 'seen in the books');
    await stepping.drain();
    expect(await stepping.jobs.find('g')).toMatchObject({ status: 'succeeded' });
    await expect(stepping.jobs.settle('g', 'submitted', 'again')).rejects.toMatchObject({ code: 'JOB_STATUS' });
    await expect(stepping.jobs.settle('nobody', 'submitted', 'why')).rejects.toMatchObject({ code: 'JOB_NOT_FOUND' });
  });

  it('is settled by hand when its database is gone for good', async () => {
    const { prepared, stepping, step } = await withDatabase();
    await prepared();
    // The row, in an app that has no such database any more.
    const store = stepping.resolve(Store);
    const orphan = await createTestStepping({ steps: [step] });
    apps.push(orphan);
    const orphanStore = orphan.resolve(Store);
    const [row] = await store.list({ limit: 1 });
    if (!row) throw new Error('the prepared job is not stored');
    const { gid, instance, queue, tenant, steps, lease } = row;
    await orphanStore.create([{ gid, instance, status: 'prepared', queue, tenant, db: row.db, steps, lease, held: false, dueInMs: 0 }]);
    await orphan.jobs.settle('g', 'rolled-back', 'the database was deleted');
    expect(await orphan.jobs.find('g')).toMatchObject({ status: 'rolled-back', lastError: { message: 'the database was deleted' } });
  });

  it('is purged with its barrier once it is old, and not before', async () => {
    const { stepping, prepared, db } = await withDatabase();
    const { transaction, job } = await prepared();
    await transaction.commit();
    await job.submit();
    await stepping.drain();
    const finishedBefore = () => new Date(stepping.clock.now().getTime() + 1);
    expect(await stepping.jobs.purge({ finishedBefore: finishedBefore() })).toEqual({ purged: 0 });
    await stepping.clock.advance(3_600_001);
    expect(await stepping.jobs.purge({ finishedBefore: finishedBefore() })).toEqual({ purged: 1 });
    expect(await stepping.jobs.find('g')).toBeUndefined();
    expect([...db.database.barriers.entries()]).toEqual([]);
  });
});

describe('a job in the very database of its transaction', () => {
  async function sameDatabase() {
    const ran: string[] = [];
    const step = defineStep({ name: 'a', run: ({ gid }) => void ran.push(gid) });
    const store = memoryStore();
    // The store's own database, registered as a business database, too.
    const db: SteppingPlugin = { name: 'same', start: (r) => r.resolve(DbProviders).add(new MemoryDbProvider(store.database)) };
    const stepping = createStepping({ steps: [step], tm: localTm({ store }), use: [db] });
    apps.push(stepping);
    await stepping.start();
    return { stepping, step, store, ran };
  }

  it('is there if and only if the transaction committed, with no barrier and nothing prepared', async () => {
    const { stepping, step, store } = await sameDatabase();
    for (const end of ['commit', 'rollback'] as const) {
      const transaction = memoryTransaction(store);
      const job = stepping.createJob({ gid: end, transaction });
      await job.addStep(step).prepare();
      expect(await stepping.jobs.find(end)).toBeUndefined();
      await transaction[end]();
      expect(await job.submit()).toBe(end === 'commit' ? 'submitted' : 'rolled-back');
    }
    expect(await stepping.jobs.find('commit')).toMatchObject({ status: 'submitted' });
    expect((await stepping.jobs.find('rollback'))?.status).not.toBe('submitted');
    expect(await stepping.jobs.stats()).toMatchObject({ prepared: 0, submitted: 1 });
  });

  it('is refused for a gid that was started before, and the transaction rolls back', async () => {
    const { stepping, step, store } = await sameDatabase();
    await stepping.createJob({ gid: 'g' }).addStep(step).start();
    const transaction = memoryTransaction(store);
    await expect(stepping.createJob({ gid: 'g', transaction }).addStep(step).start()).rejects.toMatchObject({ code: 'JOB_DUPLICATE' });
    expect(transaction.isActive()).toBe(false);
  });
});

describe('operations', () => {
  async function withJobs() {
    let fail = true;
    const step = defineStep({
      name: 'a',
      retry: { maxAttempts: 1 },
      run() {
        if (fail) throw new Error('no');
      },
    });
    const stepping = await createTestStepping({ steps: [step] });
    apps.push(stepping);
    const mend = () => {
      fail = false;
    };
    const start = (gid: string) => stepping.createJob({ gid, tenant: 'acme' }).addStep(step).start();
    return { stepping, step, start, mend };
  }

  it('redrive puts a dead letter back at its step, with all its attempts', async () => {
    const { stepping, start, mend } = await withJobs();
    await start('g');
    await stepping.drain();
    expect(await stepping.jobs.find('g')).toMatchObject({
      status: 'failed',
      steps: [{ name: 'a', status: 'failed' }],
      lastError: { message: 'no' },
    });
    mend();
    await stepping.jobs.redrive('g');
    expect(await stepping.jobs.find('g')).toMatchObject({ status: 'submitted', attempt: 1 });
    await stepping.drain();
    expect(await stepping.jobs.find('g')).toMatchObject({ status: 'succeeded' });
    await expect(stepping.jobs.redrive('g')).rejects.toMatchObject({ code: 'JOB_STATUS', message: expect.stringContaining('succeeded') });
    await expect(stepping.jobs.redrive('nobody')).rejects.toMatchObject({ code: 'JOB_NOT_FOUND' });
  });

  it('redriveAll redrives the failed jobs that fit, and no others', async () => {
    const { stepping, start, mend, step } = await withJobs();
    for (let i = 0; i < 5; i++) await start(`g${i}`);
    await stepping.drain();
    mend();
    expect(await stepping.jobs.redriveAll({ tenant: 'other' })).toEqual({ redriven: 0 });
    expect(await stepping.jobs.redriveAll({ step, tenant: 'acme' })).toEqual({ redriven: 5 });
    await stepping.drain();
    expect(await stepping.jobs.stats()).toMatchObject({ succeeded: 5, failed: 0 });
  });

  it('cancel ends a waiting or failed job, keeps the reason, and refuses a finished one', async () => {
    const { stepping, start } = await withJobs();
    await start('waiting');
    await stepping.jobs.cancel('waiting', 'customer left');
    await stepping.drain();
    expect(await stepping.jobs.find('waiting')).toMatchObject({ status: 'cancelled', lastError: { message: 'customer left' } });
    await start('failed');
    await stepping.drain();
    await stepping.jobs.cancel('failed');
    await expect(stepping.jobs.cancel('failed')).rejects.toMatchObject({ code: 'JOB_STATUS' });
  });

  it('list pages through what fits', async () => {
    const { stepping, start } = await withJobs();
    for (let i = 0; i < 7; i++) await start(`g${i}`);
    const first = await stepping.jobs.list({ tenant: 'acme', limit: 4 });
    const second = await stepping.jobs.list({ tenant: 'acme', limit: 4, ...(first.cursor && { cursor: first.cursor }) });
    expect([...first.jobs, ...second.jobs].map(({ gid }) => gid)).toEqual(['g0', 'g1', 'g2', 'g3', 'g4', 'g5', 'g6']);
    expect(second.cursor).toBeUndefined();
  });
});

describe('start() on a store that fails', () => {
  async function failing(fail: (call: number) => Error | undefined, real: 'before' | 'after' = 'before') {
    let calls = 0;
    const app = await onStore({
      create: async (store, jobs) => {
        const error = fail(++calls);
        if (error && real === 'before') throw error;
        const answer = await store.create(jobs);
        if (error) throw error;
        return answer;
      },
    });
    return { ...app, calls: () => calls };
  }

  type Instead = {
    [M in 'create' | 'createAlone' | 'find' | 'resolve']?: (
      store: TransactionStore,
      ...args: Parameters<TransactionStore[M]>
    ) => ReturnType<TransactionStore[M]>;
  };

  /** An app on a store some of whose calls are done otherwise. */
  async function onStore(instead: Instead) {
    const step = defineStep({ name: 'a', run() {} });
    const db = memoryDb({ name: 'orders' });
    const inner = memoryStore();
    const store: StorePlugin = {
      ...inner,
      register: (registry) =>
        inner.register?.({
          provide: (injectable, factory) =>
            registry.provide(injectable, (r) => {
              const made = factory(r) as TransactionStore;
              if ((injectable as unknown) !== Store) return made as never;
              return new Proxy(made, {
                get(target, member) {
                  const other = instead[member as keyof Instead] as ((...args: unknown[]) => unknown) | undefined;
                  if (other) return (...args: unknown[]) => other(target, ...args);
                  const value = target[member as keyof TransactionStore] as unknown;
                  return typeof value === 'function' ? value.bind(target) : value;
                },
              }) as never;
            }),
        }),
    };
    const jobs: SteppingPlugin = {
      name: 'the database of the jobs',
      start: (r) => void r.resolve(DbProviders).add(new MemoryDbProvider(inner.database)),
    };
    const stepping = createStepping({ steps: [step], tm: localTm({ store }), use: [db, jobs] });
    apps.push(stepping);
    await stepping.start();
    return { start: (gid?: string) => stepping.createJob({ gid }).addStep(step).start(), stepping, step, db, jobs: inner };
  }

  it.each(['before', 'after'] as const)('repeats a start whose answer was lost %s it was done, and stores it once', async (when) => {
    const { start, stepping, calls } = await failing((call) => (call === 1 ? new Error('connection lost') : undefined), when);
    expect(await start('g')).toEqual({ gid: 'g', status: 'submitted', duplicate: false });
    expect(calls()).toBe(2);
    expect(await stepping.jobs.stats()).toMatchObject({ submitted: 1 });
  });

  it('passes the refusal of the store on as it is', async () => {
    const refusal = new Error('value too long');
    const { start } = await failing(() => new WriteRefused('refused', { cause: refusal }));
    await expect(start()).rejects.toBe(refusal);
  });

  it('says that nobody knows when the write that waited for another transaction was not heard', async () => {
    const lost = new Error('connection lost');
    const { start, stepping } = await onStore({
      create: async (_, jobs) => jobs.map(() => ({ outcome: 'locked' as const })),
      createAlone: async (store, job) => {
        await store.create([job]);
        throw lost;
      },
    });
    await expect(start('g')).rejects.toMatchObject({ code: 'START_OUTCOME_UNKNOWN', cause: lost });
    expect(await stepping.jobs.stats()).toMatchObject({ submitted: 1 });
  });

  it('does not say that nothing was stored where the transaction that holds the gid may be its own first try', async () => {
    let calls = 0;
    const { start } = await onStore({
      create: async (_, jobs) => {
        if (++calls === 1) throw new Error('no answer to the commit');
        return jobs.map(() => ({ outcome: 'locked' as const }));
      },
      createAlone: async () => ({ outcome: 'locked' }),
    });
    await expect(start('g')).rejects.toMatchObject({ code: 'START_OUTCOME_UNKNOWN' });
    expect(calls).toBe(2);
  });

  it('does not take a job for committed that is being purged: it may have been rolled back before', async () => {
    const { stepping, step, jobs } = await onStore({
      find: async (store, gid) => {
        const found = await store.find(gid);
        return found && { ...found, status: 'purging' };
      },
      resolve: async () => 'unknown',
    });
    const transaction = memoryTransaction(jobs);
    const job = stepping.createJob({ gid: 'g', transaction }).addStep(step);
    await job.prepare();
    await transaction.commit();
    await expect(job.submit()).rejects.toMatchObject({ code: 'COMMIT_OUTCOME_UNKNOWN' });
  });

  it('leaves no doubt about a prepare that was not heard: its barrier is out again, so nothing of the job will run', async () => {
    const lost = new Error('connection lost');
    let sent = 0;
    const { stepping, step, db } = await onStore({
      create: async (store, jobs) => {
        sent++;
        await store.create(jobs);
        throw lost;
      },
    });
    const transaction = memoryTransaction(db);
    const job = stepping.createJob({ gid: 'g', transaction }).addStep(step);
    await expect(job.prepare()).rejects.toMatchObject({
      code: 'STORE_UNAVAILABLE',
      cause: lost,
      message: expect.stringContaining('will not run'),
    });
    expect(await stepping.jobs.find('g')).toMatchObject({ status: 'rolled-back' });
    expect(sent).toBe(1);
  });
});

describe('localTm', () => {
  it.each([
    [{ leaseMs: 10 }, 'leaseMs'],
    [{ retentionMs: 1_000 }, 'retentionMs'],
    [{ failedRetentionMs: Number.NaN }, 'failedRetentionMs'],
    [{ prepareTimeoutMs: -1 }, 'prepareTimeoutMs'],
  ])('refuses %j', (options, name) => {
    expect(() => localTm({ store: memoryStore(), ...options })).toThrow(
      expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringContaining(name) }),
    );
  });

  it('starts a gid that is made of any text once only', async () => {
    const { stepping, step } = await withDatabase();
    const gid = gidFrom('mail', 'message 17/ä');
    const answers = await Promise.all([1, 2, 3].map((n) => stepping.createJob({ gid }).addStep(step, { n }).start()));
    expect(answers.filter(({ duplicate }) => !duplicate)).toHaveLength(1);
  });
});
