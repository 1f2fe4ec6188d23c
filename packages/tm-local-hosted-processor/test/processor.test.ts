import { afterEach, describe, expect, it } from '@jest/globals';
import { type AnyStep, createStepping, defineStep, type Stepping, unchecked } from '@stepping/core';
import { type LocalTmOptions, localTm, memoryStore, Store, type StorePlugin, type TransactionStore } from '@stepping/tm-local';
import { memoryDb, memoryTransaction } from '@stepping/tm-local/testing';
import { hostedProcessor, type ProcessorOptions } from '@stepping/tm-local-hosted-processor';

const WAIT = { timeoutMs: 50_000 };
const apps: Stepping[] = [];

/** A started app; several on one store are several processes. */
async function app(
  steps: readonly AnyStep[],
  options: { store?: StorePlugin; processor?: ProcessorOptions | false; tm?: Partial<LocalTmOptions> } = {},
): Promise<Stepping> {
  const { store = memoryStore(), processor = {}, tm = {} } = options;
  const stepping = createStepping({ steps, tm: localTm({ store, processor: processor && hostedProcessor(processor), ...tm }) });
  apps.push(stepping);
  await stepping.start();
  return stepping;
}

afterEach(async () => {
  await Promise.all(apps.splice(0).map((stepping) => stepping.stop({ drainTimeoutMs: 100 })));
});

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** A store whose every call goes through `before`, as a network would. */
function disturbed(inner: StorePlugin, before: (method: string) => void): StorePlugin {
  return {
    ...inner,
    register(registry) {
      inner.register?.({
        provide: (injectable, factory) =>
          registry.provide(injectable, (r) => {
            const made = factory(r);
            if ((injectable as unknown) !== Store) return made;
            return new Proxy(made as TransactionStore, {
              get(store, method) {
                const member = store[method as keyof TransactionStore] as unknown;
                if (typeof member !== 'function') return member;
                return (...args: unknown[]) => {
                  before(String(method));
                  return member.apply(store, args);
                };
              },
            }) as never;
          }),
      });
    },
  };
}

describe('the hosted processor', () => {
  it('does not take the lease of another worker for its own when its submit was not heard', async () => {
    const db = memoryDb();
    const store = memoryStore();
    const gate = Promise.withResolvers<void>();
    const ran = { here: 0, there: 0 };
    const here = defineStep({ name: 'a', run: () => void ran.here++ });
    const there = defineStep({
      name: 'a',
      run: async () => {
        ran.there++;
        await gate.promise;
      },
    });
    // Claims nothing, and its submit comes through when the other one has found out by itself, and begun.
    const cut = disturbed(store, (method) => {
      if (method === 'claimDue' || (method === 'change' && ran.there === 0)) throw new Error('connection lost');
    });
    const mine = createStepping({
      steps: [here],
      use: [db],
      tm: localTm({ store: cut, processor: hostedProcessor(), prepareTimeoutMs: 1 }),
    });
    const other = createStepping({ steps: [there], use: [db], tm: localTm({ store, processor: hostedProcessor({ maxPollMs: 50 }) }) });
    apps.push(mine, other);
    await Promise.all([mine.start(), other.start()]);
    const transaction = memoryTransaction(db);
    const job = mine.createJob({ transaction }).addStep(here);
    await job.prepare();
    await transaction.commit();
    expect(await job.submit()).toBe('submitted');
    for (let i = 0; i < 10; i++) await new Promise(setImmediate);
    gate.resolve();
    await expect(other.jobs.wait(job.gid, WAIT)).resolves.toMatchObject({ status: 'succeeded' });
    expect(ran).toEqual({ here: 0, there: 1 });
  });

  it('calls every handler exactly once for every step, with several processors on one store and no crash', async () => {
    const calls = new Map<string, number>();
    const count = ({ idempotencyKey }: { idempotencyKey: string }) => void calls.set(idempotencyKey, (calls.get(idempotencyKey) ?? 0) + 1);
    const steps = ['one', 'two', 'three'].map((name) => defineStep({ name, run: async (context) => count(context) }));
    const store = memoryStore();
    const starter = await app(steps, { store, processor: false });
    const jobs = Array.from({ length: 500 }, () => starter.createJob());
    await Promise.all(jobs.map((job) => steps.reduce((all, step) => all.addStep(step), job).start()));
    for (let i = 0; i < 3; i++) await app(steps, { store });
    await Promise.all(jobs.map(({ gid }) => starter.jobs.wait(gid, WAIT)));
    expect(calls.size).toBe(1_500);
    expect([...calls.values()].every((times) => times === 1)).toBe(true);
    expect(await starter.jobs.stats()).toMatchObject({ succeeded: 500, submitted: 0 });
  });

  it('runs a job at once in the process that started it, long before the next poll', async () => {
    const { promise: ran, resolve } = Promise.withResolvers<void>();
    const step = defineStep({ name: 'a', run: () => resolve() });
    const stepping = await app([step], { processor: { maxPollMs: 600_000 } });
    await stepping.createJob().addStep(step).start();
    await ran;
  });

  it('looks again when a failed attempt of its own is due, long before the next poll', async () => {
    let attempts = 0;
    const step = defineStep({
      name: 'a',
      retry: { minDelayMs: 20 },
      run() {
        if (++attempts < 4) throw new Error('not yet');
      },
    });
    const stepping = await app([step], { processor: { maxPollMs: 600_000 } });
    const { gid } = await stepping.createJob().addStep(step).start();
    expect(await stepping.jobs.wait(gid, WAIT)).toMatchObject({ status: 'succeeded' });
    expect(attempts).toBe(4);
  });

  it('aborts a handler whose job it has claimed anew itself, after leases could not be renewed', async () => {
    let down = true;
    let failed = 0;
    const store = disturbed(memoryStore(), (method) => {
      if (!down || method !== 'extend') return;
      failed++;
      throw new Error('the store is down');
    });
    const signals: AbortSignal[] = [];
    const step = defineStep({
      name: 'a',
      run({ signal }) {
        signals.push(signal);
        return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
      },
    });
    const stepping = await app([step], { store, processor: { maxPollMs: 50 }, tm: { leaseMs: 300 } });
    await stepping.createJob().addStep(step).start();
    await until(() => signals.length === 2);
    // Until the lease of the second run is old enough to be renewed, too.
    const failedBefore = failed;
    await until(() => failed >= failedBefore + 5);
    down = false;
    await until(() => signals[0]?.aborted === true);
    expect(signals[0]?.reason).toMatchObject({ code: 'LEASE_LOST' });
  });

  it('finds by its poll what another process stored', async () => {
    const step = defineStep({ name: 'a', run() {} });
    const store = memoryStore();
    const starter = await app([step], { store, processor: false });
    await app([step], { store, processor: { maxPollMs: 50 } });
    const { gid } = await starter.createJob().addStep(step).start();
    expect(await starter.jobs.wait(gid, WAIT)).toMatchObject({ status: 'succeeded' });
  });

  it('never runs more handlers at a time than its concurrency', async () => {
    let running = 0;
    let most = 0;
    const step = defineStep({
      name: 'a',
      async run() {
        most = Math.max(most, ++running);
        await new Promise((resolve) => setTimeout(resolve, 2));
        running--;
      },
    });
    const stepping = await app([step], { processor: { concurrency: 3 } });
    const started = await Promise.all(Array.from({ length: 100 }, () => stepping.createJob().addStep(step).start()));
    await Promise.all(started.map(({ gid }) => stepping.jobs.wait(gid, WAIT)));
    expect(most).toBe(3);
  });

  it('does not let slow, failing and unknown steps hold up others', async () => {
    const args = unchecked<{ n: number }>();
    const { promise, resolve } = Promise.withResolvers<void>();
    const slow = defineStep({ name: 'slow', run: () => promise });
    const failing = defineStep({ name: 'failing', run: () => Promise.reject(new Error('always')) });
    const unknown = defineStep({ name: 'unknown', run() {} });
    const good = defineStep({ name: 'good', args, run() {} });
    const store = memoryStore();
    const starter = await app([slow, failing, unknown, good], { store, processor: false });
    for (const step of [slow, failing, unknown]) for (let i = 0; i < 10; i++) await starter.createJob().addStep(step).start();
    const goods = await Promise.all(Array.from({ length: 50 }, (_, n) => starter.createJob().addStep(good, { n }).start()));
    await app([slow, failing, good], { store });
    const infos = await Promise.all(goods.map(({ gid }) => starter.jobs.wait(gid, WAIT)));
    expect(infos.every(({ status }) => status === 'succeeded')).toBe(true);
    resolve();
  });

  it('serves each queue by the processes that have its steps, and nothing else', async () => {
    const ran: string[] = [];
    const inA = defineStep({ name: 'a', queue: 'qa', run: () => void ran.push('a') });
    const inB = defineStep({ name: 'b', queue: 'qb', run: () => void ran.push('b') });
    const store = memoryStore();
    const unrunnable: string[] = [];
    for (const step of [inA, inB]) {
      const served = await app([step], { store, processor: { maxPollMs: 50 } });
      served.on('step.unrunnable', ({ step: name }) => unrunnable.push(name));
    }
    const starter = await app([inA, inB], { store, processor: false });
    const { gid } = await starter.createJob().addStep(inA).addStep(inB).addStep(inA).start();
    await starter.jobs.wait(gid, WAIT);
    expect(ran).toEqual(['a', 'b', 'a']);
    expect(unrunnable).toEqual([]);
  });

  it('keeps the lease of a step that runs longer than it', async () => {
    let starts = 0;
    const step = defineStep({
      name: 'long',
      async run() {
        starts++;
        await new Promise((resolve) => setTimeout(resolve, 1_500));
      },
    });
    const store = memoryStore();
    const first = await app([step], { store, tm: { leaseMs: 300 } });
    await app([step], { store, tm: { leaseMs: 300 }, processor: { maxPollMs: 50 } });
    const { gid } = await first.createJob().addStep(step).start();
    await first.jobs.wait(gid, WAIT);
    expect(starts).toBe(1);
  });

  it('aborts the signal of a running step when its job is cancelled elsewhere', async () => {
    const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
    const { promise: aborted, resolve: abort } = Promise.withResolvers<unknown>();
    const step = defineStep({
      name: 'a',
      run: ({ signal }) =>
        new Promise((_, reject) => {
          begin();
          signal.addEventListener('abort', () => {
            abort(signal.reason);
            reject(signal.reason);
          });
        }),
    });
    const store = memoryStore();
    const stepping = await app([step], { store, tm: { leaseMs: 300 } });
    const operator = await app([step], { store, processor: false });
    const { gid } = await stepping.createJob().addStep(step).start();
    await begun;
    await operator.jobs.cancel(gid, 'wrong customer');
    expect(await aborted).toMatchObject({ code: 'LEASE_LOST' });
    expect(await operator.jobs.find(gid)).toMatchObject({ status: 'cancelled', lastError: { message: 'wrong customer' } });
  });

  it('goes on when the store fails, whichever call it is', async () => {
    const step = defineStep({ name: 'a', retry: { minDelayMs: 10, maxDelayMs: 50 }, run() {} });
    const failures = new Map<string, number>();
    let broken = true;
    const store = disturbed(memoryStore(), (method) => {
      if (!broken || !['claimDue', 'nextDueInMs', 'extend', 'save'].includes(method)) return;
      failures.set(method, (failures.get(method) ?? 0) + 1);
      throw new Error(`${method}: connection lost`);
    });
    const stepping = await app([step], { store, tm: { leaseMs: 300 } });
    const started = await Promise.all(Array.from({ length: 20 }, () => stepping.createJob().addStep(step).start()));
    await until(() => (failures.get('nextDueInMs') ?? 0) > 1);
    broken = false;
    const infos = await Promise.all(started.map(({ gid }) => stepping.jobs.wait(gid, WAIT)));
    expect(infos.every(({ status }) => status === 'succeeded')).toBe(true);
  });

  it('costs an idle store one statement a poll, however many steps there are', async () => {
    const steps = Array.from({ length: 50 }, (_, i) => defineStep({ name: `step-${i}`, queue: `queue-${i % 10}`, run() {} }));
    const calls: string[] = [];
    const store = disturbed(memoryStore(), (method) => calls.push(method));
    await app(steps, { store, processor: { maxPollMs: 50 } });
    await until(() => calls.filter((method) => method === 'nextDueInMs').length >= 10);
    expect(new Set(calls.filter((method) => !['start', 'onDue'].includes(method)))).toEqual(new Set(['nextDueInMs']));
  });

  describe('stop()', () => {
    it('lets running steps end, hands back the rest, and another process goes on', async () => {
      const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
      const { promise, resolve } = Promise.withResolvers<void>();
      let second = 0;
      const one = defineStep({
        name: 'one',
        run: () => {
          begin();
          return promise;
        },
      });
      const two = defineStep({ name: 'two', run: () => void second++ });
      const store = memoryStore();
      const first = await app([one, two], { store, processor: { concurrency: 1 } });
      const started = await Promise.all([1, 2].map(() => first.createJob().addStep(one).addStep(two).start()));
      await begun;
      const stopped = first.stop();
      resolve();
      await stopped;
      expect(second).toBe(0);
      const other = await app([one, two], { store });
      const infos = await Promise.all(started.map(({ gid }) => other.jobs.wait(gid, WAIT)));
      expect(infos.map(({ status, attempt }) => [status, attempt])).toEqual([
        ['succeeded', 1],
        ['succeeded', 1],
      ]);
      expect(second).toBe(2);
    });

    it('ends in bounded time although a step ignores its abort, and does not hand that one back', async () => {
      const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
      const step = defineStep({
        name: 'deaf',
        run: () => {
          begin();
          return new Promise(() => {});
        },
      });
      const store = memoryStore();
      const stepping = await app([step], { store });
      const { gid } = await stepping.createJob().addStep(step).start();
      await begun;
      await stepping.stop({ drainTimeoutMs: 50 });
      const operator = await app([step], { store, processor: false });
      const info = await operator.jobs.find(gid);
      expect(info).toMatchObject({ status: 'submitted', attempt: 1 });
      expect(info?.dueAt?.getTime()).toBeGreaterThan(Date.now());
    });

    it('can be called from a step', async () => {
      const { promise: stopped, resolve } = Promise.withResolvers<void>();
      const step = defineStep({
        name: 'last-order',
        run: async () => {
          void stepping.stop({ drainTimeoutMs: 50 }).then(resolve);
        },
      });
      const stepping = await app([step]);
      await stepping.createJob().addStep(step).start();
      await stopped;
    });
  });

  it.each([
    [{ concurrency: 0 }, 'concurrency'],
    [{ maxPollMs: 1.5 }, 'maxPollMs'],
    [{ drainTimeoutMs: -1 }, 'drainTimeoutMs'],
  ])('refuses %j', (options, name) => {
    expect(() => hostedProcessor(options)).toThrow(
      expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringContaining(name) }),
    );
  });

  it('refuses a queue in which this process has no step', async () => {
    await expect(app([defineStep({ name: 'a', run() {} })], { processor: { queues: ['mail'] } })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining('mail'),
    });
  });
});
