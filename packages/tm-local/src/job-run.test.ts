import { describe, expect, it } from '@jest/globals';
import {
  type Attempt,
  type Claim,
  permanent,
  type RetryPolicy,
  type RunnableStep,
  retryAfter,
  SteppingError,
  type SteppingEvents,
  silentLogger,
} from '@stepping/core';
import { JobRun, type JobRunDeps } from './job-run.js';
import { MemoryTransactionStore, memoryStore } from './memory-store.js';
import { Slots } from './slots.js';
import { StartGate } from './start-gate.js';
import { encodeSteps } from './stored-steps.js';
import { virtualClock } from './testing/virtual-clock.js';
import type { ClaimedJob, Save, StoredJob } from './transaction-store.js';
import { UnrunnableBackoff } from './unrunnable-backoff.js';

const LEASE_MS = 10_000;

interface TestStep {
  run(attempt: Attempt): Promise<void>;
  retry?: RetryPolicy;
  timeoutMs?: number;
}

/** One process and one store; `worker()` is another process on the same store. */
function setup(steps: Record<string, TestStep>) {
  const clock = virtualClock();
  const { database } = memoryStore();
  database.clock = clock;
  const store = new MemoryTransactionStore(database);
  const events: { event: string; payload: any }[] = [];
  const saves: Save[] = [];
  const lost: ((save: Save) => 'before' | 'after' | undefined)[] = [];

  const worker = (size = 16) => {
    const deps: JobRunDeps = {
      save: async (save) => {
        saves.push(save);
        const fate = lost.shift()?.(save);
        if (fate === 'before') throw new Error('connection lost before');
        const matched = await store.save([save]);
        if (fate === 'after') throw new Error('connection lost after');
        return { answer: matched.has(save.gid), repeated: false };
      },
      holds: async ({ gid, lease }) => (await store.find(gid))?.lease === lease,
      steps: {
        queues: () => ['default'],
        has: () => true,
        bounded: () => [],
        open: async ({ name }): Promise<RunnableStep> => {
          const step = steps[name];
          if (!step) throw new SteppingError('STEP_NOT_RUNNABLE', `no ${name}`);
          const { maxAttempts = Number.POSITIVE_INFINITY, minDelayMs = 1_000, maxDelayMs = 60_000 } = step.retry ?? {};
          return {
            retry: { maxAttempts, minDelayMs, maxDelayMs },
            timeoutMs: step.timeoutMs ?? 300_000,
            run: (attempt) => step.run(attempt),
          };
        },
      },
      events: {
        emit: <K extends keyof SteppingEvents>(event: K, payload: SteppingEvents[K]) => void events.push({ event, payload }),
        hasListeners: () => true,
      },
      log: silentLogger,
      clock,
      gate: new StartGate(),
      suspects: new Slots(1),
      unrunnable: new UnrunnableBackoff(),
      slots: new Slots(size),
      leaseMs: LEASE_MS,
      serves: (queue) => queue === 'default',
      putBack() {},
    };
    return {
      deps,
      async claim(limit = 10): Promise<JobRun[]> {
        const sentAt = clock.monotonicMs();
        const claimed: readonly ClaimedJob[] = await store.claimDue({ queue: 'default', limit, leaseMs: LEASE_MS });
        return claimed.map((job) => new JobRun(deps, job, sentAt));
      },
      async claimOne(): Promise<JobRun> {
        const [run] = await this.claim(1);
        if (!run) throw new Error('nothing was due');
        return run;
      },
    };
  };

  return {
    clock,
    store,
    events,
    saves,
    lost,
    worker,
    names: () => events.map(({ event }) => event),
    async job(gid: string, ...names: string[]) {
      const stored = names.map((name) => {
        const [step = name, queue = 'default'] = name.split('@');
        return { name: step, queue, args: undefined };
      });
      await store.create([
        {
          gid,
          instance: 'i',
          status: 'submitted',
          queue: stored[0]?.queue ?? 'default',
          tenant: undefined,
          db: undefined,
          steps: encodeSteps(stored),
          lease: 7,
          held: false,
          dueInMs: 0,
        },
      ]);
    },
    async row(gid: string): Promise<StoredJob> {
      const found = await store.find(gid);
      if (!found) throw new Error(`no row ${gid}`);
      return found;
    },
  };
}

/** A step that never ends by itself. */
const hangs: TestStep = { run: () => new Promise(() => {}) };
const succeeds: TestStep = { run: async () => {} };

describe('a job run', () => {
  it('runs the steps in order and checkpoints each before the next one starts', async () => {
    const seen: string[] = [];
    const t = setup({
      a: { run: async () => void seen.push(`a at ${(await t.row('g')).step}`) },
      b: { run: async () => void seen.push(`b at ${(await t.row('g')).step}`) },
    });
    await t.job('g', 'a', 'b');
    await (await t.worker().claimOne()).run();
    expect(seen).toEqual(['a at 0', 'b at 1']);
    expect(await t.row('g')).toMatchObject({ status: 'succeeded', step: 2, held: false, dueAt: undefined });
    expect(t.names()).toEqual(['step.started', 'step.succeeded', 'step.started', 'step.succeeded', 'job.succeeded']);
  });

  it('puts a failed attempt back with its number raised, its error kept and a backoff', async () => {
    const t = setup({ a: { run: () => Promise.reject(new TypeError('broken\u0000pipe')) } });
    await t.job('g', 'a');
    await (await t.worker().claimOne()).run();
    const row = await t.row('g');
    expect(row).toMatchObject({
      status: 'submitted',
      step: 0,
      attempt: 2,
      held: false,
      error: { name: 'TypeError', message: 'brokenpipe' },
    });
    const delayMs = (row.dueAt?.getTime() ?? 0) - t.clock.now();
    expect(delayMs).toBeGreaterThanOrEqual(1_000);
    expect(delayMs).toBeLessThanOrEqual(1_100);
  });

  it('waits as long as retryAfter() says', async () => {
    const t = setup({ a: { run: () => Promise.reject(retryAfter(42_000)) } });
    await t.job('g', 'a');
    await (await t.worker().claimOne()).run();
    expect((await t.row('g')).dueAt?.getTime()).toBe(t.clock.now() + 42_000);
  });

  it.each([
    ['permanent()', permanent('no such card'), {}],
    ['the last attempt', new Error('no'), { maxAttempts: 1 }],
  ])('fails the job after %s', async (_what, error, retry) => {
    const t = setup({ a: { run: () => Promise.reject(error), retry } });
    await t.job('g', 'a');
    await (await t.worker().claimOne()).run();
    expect(await t.row('g')).toMatchObject({ status: 'failed', dueAt: undefined, error: { message: error.message } });
    expect(t.names()).toEqual(['step.started', 'step.failed', 'job.failed']);
  });

  it('aborts the signal at the timeout, counts the attempt, and lets a late end write nothing', async () => {
    let end = () => {};
    let reason: unknown;
    const t = setup({
      a: {
        timeoutMs: 500,
        run: ({ signal }) =>
          new Promise((resolve) => {
            end = resolve;
            signal.addEventListener('abort', () => {
              reason = signal.reason;
            });
          }),
      },
    });
    await t.job('g', 'a');
    const running = (await t.worker().claimOne()).run();
    await t.clock.advance(500);
    await running;
    expect(reason).toMatchObject({ code: 'STEP_TIMEOUT' });
    const before = t.saves.length;
    end();
    await t.clock.advance(0);
    expect(t.saves).toHaveLength(before);
    expect(await t.row('g')).toMatchObject({ status: 'submitted', step: 0, attempt: 2 });
  });

  describe('whose last worker went silent', () => {
    /** Claims and begins in a process that then dies. */
    async function crash(t: ReturnType<typeof setup>): Promise<void> {
      const run = await t.worker().claimOne();
      void run.run();
      await t.clock.advance(1);
      run.abandon();
      await t.clock.advance(LEASE_MS);
    }

    it('counts the lost attempt before it starts the next one', async () => {
      const attempts: number[] = [];
      const t = setup({
        a: {
          run: async ({ attempt }) => {
            attempts.push(attempt);
            if (attempt === 1) await new Promise(() => {});
            expect((await t.row('g')).attempt).toBe(2);
          },
        },
      });
      await t.job('g', 'a');
      await crash(t);
      await (await t.worker().claimOne()).run();
      expect(attempts).toEqual([1, 2]);
      expect(await t.row('g')).toMatchObject({ status: 'succeeded' });
    });

    it.each([1, 2, 3, 4])('starts a step that kills its process exactly %i times, and then fails it', async (maxAttempts) => {
      let starts = 0;
      const t = setup({ a: { retry: { maxAttempts }, run: () => new Promise(() => void starts++) } });
      await t.job('g', 'a');
      for (let i = 0; i < maxAttempts; i++) await crash(t);
      expect(starts).toBe(maxAttempts);
      expect(await t.row('g')).toMatchObject({ status: 'submitted' });
      await (await t.worker().claimOne()).run();
      expect(starts).toBe(maxAttempts);
      expect(await t.row('g')).toMatchObject({ status: 'failed', error: { message: expect.stringContaining('Worker lost') } });
    });

    it.each([1, 2, 3])('does not fail a job that was only claimed and never begun, with maxAttempts %i', async (maxAttempts) => {
      let starts = 0;
      const t = setup({ a: { retry: { maxAttempts }, run: async () => void starts++ } });
      await t.job('g', 'a');
      await t.worker().claim(); // and dies
      await t.clock.advance(LEASE_MS);
      await (await t.worker().claimOne()).run();
      expect(starts).toBe(1);
      expect(await t.row('g')).toMatchObject({ status: 'succeeded' });
    });

    it('starts and counts nothing else between a counting write and its start', async () => {
      const t = setup({ a: { ...succeeds, retry: { maxAttempts: 5 } }, b: succeeds });
      for (const gid of ['a1', 'a2', 'a3']) await t.job(gid, 'a');
      await t.worker().claim(); // and dies
      await t.clock.advance(LEASE_MS);
      for (const gid of ['b1', 'b2', 'b3']) await t.job(gid, 'b');
      const happened: string[] = [];
      t.lost.push(
        ...Array.from({ length: 20 }, () => (save: Save) => {
          if (save.status === 'submitted' && !save.giveUp) happened.push(`count ${save.gid}`);
          return undefined;
        }),
      );
      const emit = t.events.push.bind(t.events);
      t.events.push = (...items) => {
        for (const { event, payload } of items) if (event === 'step.started') happened.push(`start ${payload.gid}`);
        return emit(...items);
      };
      await Promise.all((await t.worker().claim()).map((run) => run.run()));
      const counts = happened.flatMap((what, i) => (what.startsWith('count') ? [i] : []));
      expect(counts).toHaveLength(3);
      for (const i of counts) expect(happened[i + 1]).toBe(happened[i]?.replace('count', 'start'));
    });

    it('counts side by side, as far as there are slots, the first lost attempts of a step that has no end of them', async () => {
      const t = setup({ a: succeeds });
      for (const gid of ['a1', 'a2', 'a3']) await t.job(gid, 'a');
      await t.worker().claim(); // and dies
      await t.clock.advance(LEASE_MS);
      const worker = t.worker(2);
      const { save } = worker.deps;
      const counting = new Set<string>();
      let most = 0;
      const runs = await worker.claim();
      Object.assign(worker.deps, {
        save: async (write: Save) => {
          if (write.status === 'submitted') counting.add(write.gid);
          most = Math.max(most, counting.size);
          await new Promise((resolve) => setImmediate(resolve));
          counting.delete(write.gid);
          return save(write);
        },
      });
      await Promise.all(runs.map((run) => run.run()));
      expect(most).toBe(2);
      expect(t.saves.filter(({ status }) => status === 'submitted').map(({ attempt }) => attempt)).toEqual([2, 2, 2]);
      for (const gid of ['a1', 'a2', 'a3']) expect(await t.row(gid)).toMatchObject({ status: 'succeeded' });
    });

    it('runs suspects one at a time, but other jobs beside them', async () => {
      const running: string[] = [];
      const t = setup({
        a: { run: ({ attempt }) => (attempt < 3 ? new Promise(() => {}) : new Promise(() => void running.push('suspect'))) },
        b: { run: async () => void running.push('b') },
      });
      for (const gid of ['s1', 's2', 's3']) await t.job(gid, 'a');
      for (let i = 0; i < 2; i++) {
        const runs = await t.worker().claim();
        for (const run of runs) void run.run();
        await t.clock.advance(1);
        for (const run of runs) run.abandon();
        await t.clock.advance(LEASE_MS);
      }
      await t.job('healthy', 'b');
      for (const run of await t.worker().claim()) void run.run();
      await t.clock.advance(1);
      expect(running.toSorted()).toEqual(['b', 'suspect']);
    });
  });

  it('renews its lease with a checkpoint when part of it is gone, and only then', async () => {
    const t = setup({ soon: succeeds, late: { run: () => t.clock.advance(LEASE_MS / 2) }, last: succeeds });
    await t.job('g', 'soon', 'late', 'last');
    const run = await t.worker().claimOne();
    await run.run();
    expect(t.saves.map(({ dueInMs }) => dueInMs)).toEqual([undefined, LEASE_MS, undefined]);
  });

  it('keeps its lease through any number of steps, though every checkpoint takes nearly half of it and so no renewal ever finds it idle', async () => {
    const steps = Array.from({ length: 10 }, (_, i) => `step-${i}`);
    const t = setup(Object.fromEntries(steps.map((name) => [name, succeeds])));
    await t.job('g', ...steps);
    const worker = t.worker();
    const { save } = worker.deps;
    Object.assign(worker.deps, {
      save: async (write: Save) => {
        await t.clock.advance(LEASE_MS * 0.4);
        expect(await t.worker().claim()).toEqual([]);
        return save(write);
      },
    });
    await (await worker.claimOne()).run();
    expect(await t.row('g')).toMatchObject({ status: 'succeeded', step: 10 });
    expect(t.saves).toHaveLength(10);
  });

  it('gives its slot to another job at the timeout, though the handler hangs on', async () => {
    const t = setup({ a: { ...hangs, timeoutMs: 100 }, b: succeeds });
    await t.job('g1', 'a');
    await t.job('g2', 'b');
    const runs = await t.worker(1).claim();
    const all = Promise.all(runs.map((run) => run.run()));
    await t.clock.advance(100);
    await all;
    expect(await t.row('g2')).toMatchObject({ status: 'succeeded' });
  });

  it('writes nothing and aborts the signal once its lease is gone', async () => {
    let reason: unknown;
    const t = setup({
      a: {
        run: ({ signal }) =>
          new Promise((_, reject) =>
            signal.addEventListener('abort', () => {
              reason = signal.reason;
              reject(reason);
            }),
          ),
      },
    });
    await t.job('g', 'a');
    const run = await t.worker().claimOne();
    const running = run.run();
    await t.clock.advance(1);
    const before = await t.row('g');
    run.leaseGone();
    await running;
    expect(reason).toMatchObject({ code: 'LEASE_LOST' });
    expect(t.saves).toEqual([]);
    expect(await t.row('g')).toEqual(before);
    expect(t.names()).toEqual(['step.started', 'job.lease-lost']);
  });

  it('stops when a checkpoint finds that another worker owns the job', async () => {
    const t = setup({
      a: {
        run: async () =>
          void (await t.store.change([
            {
              gid: 'g',
              instance: undefined,
              from: ['submitted'],
              to: 'cancelled',
              queue: undefined,
              dueInMs: 0,
              held: false,
              error: undefined,
            },
          ])),
      },
      b: succeeds,
    });
    await t.job('g', 'a', 'b');
    await (await t.worker().claimOne()).run();
    expect(await t.row('g')).toMatchObject({ status: 'cancelled', step: 0 });
    expect(t.names()).toEqual(['step.started', 'job.lease-lost']);
  });

  it.each([undefined, 1])(
    'does not start a step when too little of its lease is left, and hands it back uncounted (maxAttempts: %s)',
    async (maxAttempts) => {
      let starts = 0;
      const t = setup({ a: { ...(maxAttempts && { retry: { maxAttempts } }), run: async () => void starts++ } });
      await t.job('g', 'a');
      const run = await t.worker().claimOne();
      await t.clock.advance(LEASE_MS - 500);
      await run.run();
      expect(starts).toBe(0);
      expect(await t.row('g')).toMatchObject({ status: 'submitted', attempt: 1, held: false });
    },
  );

  it.each(['before', 'after'] as const)(
    'lets go when a checkpoint is not answered (lost %s it was done): the next holder goes on from what is stored',
    async (when) => {
      const ran: string[] = [];
      const t = setup({ a: { run: async () => void ran.push('a') }, b: { run: async () => void ran.push('b') } });
      await t.job('g', 'a', 'b');
      t.lost.push(() => when);
      await (await t.worker().claimOne()).run();
      expect(t.saves).toHaveLength(1);
      await t.clock.advance(LEASE_MS);
      await (await t.worker().claimOne()).run();
      expect(ran).toEqual(when === 'before' ? ['a', 'a', 'b'] : ['a', 'b']);
      expect(await t.row('g')).toMatchObject({ status: 'succeeded' });
    },
  );

  it('hands a job over, due at once, when its next step belongs to a queue that is not served here', async () => {
    const t = setup({ a: succeeds, c: succeeds });
    await t.job('g', 'a', 'c@elsewhere');
    await (await t.worker().claimOne()).run();
    const row = await t.row('g');
    expect(row).toMatchObject({ status: 'submitted', step: 1, attempt: 1, queue: 'elsewhere', held: false });
    expect(row.dueAt?.getTime()).toBe(t.clock.now());
  });

  it('hands a step back that this process cannot run, uncounted, with a doubling rest, and says so', async () => {
    const t = setup({});
    await t.job('g', 'missing');
    const worker = t.worker();
    const rests: number[] = [];
    for (let i = 0; i < 8; i++) {
      await (await worker.claimOne()).run();
      const row = await t.row('g');
      expect(row).toMatchObject({ status: 'submitted', attempt: 1, held: false });
      const restMs = (row.dueAt?.getTime() ?? 0) - t.clock.now();
      rests.push(restMs);
      await t.clock.advance(restMs);
    }
    expect(rests).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
    expect(new Set(t.names())).toEqual(new Set(['step.unrunnable']));
  });

  it('lets many jobs of one step that it cannot run rest no longer than one', async () => {
    const t = setup({});
    for (let i = 0; i < 10; i++) await t.job(`g${i}`, 'missing');
    const worker = t.worker();
    for (const restMs of [1_000, 2_000]) {
      for (const run of await worker.claim()) await run.run();
      for (let i = 0; i < 10; i++) expect((await t.row(`g${i}`)).dueAt?.getTime()).toBe(t.clock.now() + restMs);
      await t.clock.advance(restMs);
    }
  });

  it('keeps the mark of a silent worker on a job that it cannot run, so that the attempt is counted where it can', async () => {
    let starts = 0;
    const steps: Record<string, TestStep> = { a: { retry: { maxAttempts: 2 }, run: () => new Promise(() => void starts++) } };
    const t = setup(steps);
    await t.job('g', 'a');
    for (let round = 0; round < 4; round++) {
      const [run] = await t.worker().claim();
      if (!run) break;
      void run.run();
      await t.clock.advance(1);
      run.abandon();
      await t.clock.advance(LEASE_MS);
      // A process of an earlier release, without the step.
      const step = steps.a as TestStep;
      delete steps.a;
      for (const other of await t.worker().claim()) await other.run();
      steps.a = step;
      await t.clock.advance(60_000);
    }
    expect(starts).toBe(2);
    expect(await t.row('g')).toMatchObject({ status: 'failed' });
  });

  it.each([Number.POSITIVE_INFINITY, 1e300, Number.NaN])(
    'stores a wait that no database could, as one that it can: %s',
    async (delayMs) => {
      const t = setup({ a: { run: () => Promise.reject(retryAfter(delayMs)) } });
      await t.job('g', 'a');
      await (await t.worker().claimOne()).run();
      const { dueAt } = await t.row('g');
      expect(dueAt?.getTime()).toBeLessThanOrEqual(t.clock.now() + 3_650 * 86_400_000);
    },
  );

  it.each([[Object.create(null)], [Object.assign(new Error(), { message: 5 })], [undefined], [Symbol('s')]])(
    'stores the failure whatever is thrown (%#)',
    async (thrown) => {
      const t = setup({ a: { run: () => Promise.reject(thrown) } });
      await t.job('g', 'a');
      await (await t.worker().claimOne()).run();
      expect(await t.row('g')).toMatchObject({ status: 'submitted', attempt: 2, held: false, error: { message: expect.any(String) } });
    },
  );

  it('hands back a job whose stored text it cannot read', async () => {
    const t = setup({ a: succeeds });
    await t.store.create([
      {
        gid: 'g',
        instance: 'i',
        status: 'submitted',
        queue: 'default',
        tenant: undefined,
        db: undefined,
        steps: '{"v":99}',
        lease: 7,
        held: false,
        dueInMs: 0,
      },
    ]);
    await (await t.worker().claimOne()).run();
    expect(await t.row('g')).toMatchObject({ status: 'submitted', attempt: 1, held: false });
    expect(t.names()).toEqual(['step.unrunnable']);
  });

  describe('when the process stops', () => {
    it('hands back at once what waits for a slot, uncounted', async () => {
      const t = setup({ a: hangs });
      await t.job('g1', 'a');
      await t.job('g2', 'a');
      const worker = t.worker(1);
      const runs = await worker.claim();
      const ended = runs.map((run) => run.run());
      await t.clock.advance(1);
      for (const run of runs) run.stop();
      worker.deps.slots.close();
      await ended[1];
      const row = await t.row('g2');
      expect(row).toMatchObject({ status: 'submitted', attempt: 1, held: false });
      expect(row.dueAt?.getTime()).toBe(t.clock.now());
    });

    it('lets the running step end, keeps its checkpoint and starts no other', async () => {
      let end = () => {};
      const t = setup({ a: { run: () => new Promise<void>((resolve) => (end = resolve)) }, b: succeeds });
      await t.job('g', 'a', 'b');
      const run = await t.worker().claimOne();
      const running = run.run();
      await t.clock.advance(1);
      run.stop();
      end();
      await running;
      expect(await t.row('g')).toMatchObject({ status: 'submitted', step: 1, attempt: 1, held: false });
    });

    it('hands back, uncounted, an attempt that ends because of the abort', async () => {
      const t = setup({
        a: {
          retry: { maxAttempts: 1 },
          run: ({ signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
        },
      });
      await t.job('g', 'a');
      const run = await t.worker().claimOne();
      const running = run.run();
      await t.clock.advance(1);
      expect(await t.row('g')).toMatchObject({ attempt: 2 });
      run.abort();
      await running;
      expect(await t.row('g')).toMatchObject({ status: 'submitted', attempt: 1, held: false, error: undefined });
    });

    it('does not hand back a step that ignores the abort: its lease runs out, and the next claim counts it', async () => {
      const t = setup({ a: hangs });
      await t.job('g', 'a');
      const run = await t.worker().claimOne();
      const running = run.run();
      await t.clock.advance(1);
      run.abort();
      run.abandon();
      await running;
      expect(t.saves).toEqual([]);
      expect(await t.row('g')).toMatchObject({ held: true });
    });

    it('keeps the mark of a silent worker on a job that it had no time to take over', async () => {
      const t = setup({ a: hangs });
      await t.job('g', 'a');
      await t.worker().claim();
      await t.clock.advance(LEASE_MS);
      const worker = t.worker();
      const run = await worker.claimOne();
      run.stop();
      worker.deps.slots.close();
      await run.run();
      expect(await t.row('g')).toMatchObject({ held: true, attempt: 1 });
    });
  });

  describe('tells who acts for a step about its claim', () => {
    const orders = { provider: 'memory', name: 'orders' };

    it('that it is young and ours while the lease is renewed, and old once it was not', async () => {
      const claims: Claim[] = [];
      const t = setup({ a: { run: ({ claim }) => new Promise(() => void claims.push(claim)) } });
      await t.job('g', 'a');
      const run = await t.worker().claimOne();
      void run.run();
      await t.clock.advance(LEASE_MS - 1);
      const [claim] = claims as [Claim];
      expect([claim.instance, claim.isOld()]).toEqual(['i', false]);
      await t.store.extend([run], LEASE_MS);
      run.renewed(t.clock.monotonicMs());
      await t.clock.advance(LEASE_MS);
      expect(claim.isOld()).toBe(false);
      await t.clock.advance(1);
      expect(claim.isOld()).toBe(true);
      // Nobody has taken it over yet.
      expect(await claim.isStillOurs()).toBe(true);
    });

    it('that it is not ours any more once somebody took the job over, ended it, and purged it', async () => {
      const claims: Claim[] = [];
      let runs = 0;
      const t = setup({ a: { run: ({ claim }) => (++runs === 1 ? new Promise(() => void claims.push(claim)) : Promise.resolve()) } });
      await t.job('g', 'a');
      void (await t.worker().claimOne()).run();
      await t.clock.advance(LEASE_MS + 1);
      const [frozen] = claims as [Claim];
      await (await t.worker().claimOne()).run();
      expect([frozen.isOld(), await frozen.isStillOurs()]).toEqual([true, false]);
      await t.clock.advance(3_600_000);
      await t.store.finishPurge(await t.store.startPurge({ finishedMsAgo: 3_600_000, failedMsAgo: 3_600_000, limit: 1 }));
      expect(await t.store.find('g')).toBeUndefined();
      expect(await frozen.isStillOurs()).toBe(false);
      await t.job('g', 'a');
      expect(await frozen.isStillOurs()).toBe(false);
    });

    it("that what an attempt does after its timeout is nobody's, though the next attempt is made under a new lease of the same process", async () => {
      const claims: Claim[] = [];
      const t = setup({ a: { timeoutMs: 50, run: ({ claim }) => new Promise(() => void claims.push(claim)) } });
      await t.job('g', 'a');
      const running = (await t.worker().claimOne()).run();
      await t.clock.advance(50);
      const [late] = claims as [Claim];
      expect([late.isOld(), await late.isStillOurs()]).toEqual([true, false]);
      late.uses(orders);
      await running;
      expect(t.saves.map(({ barrierDbs }) => barrierDbs)).toEqual([undefined]);
    });

    it('and stores the databases that it names with the next write, whatever becomes of the step', async () => {
      const t = setup({
        a: { run: async ({ claim }) => claim.uses(orders) },
        b: {
          run: async ({ claim }) => {
            claim.uses({ ...orders, tenant: 'acme' });
            throw new Error('boom');
          },
        },
      });
      await t.job('g', 'a', 'b');
      await (await t.worker().claimOne()).run();
      expect(t.saves.map(({ step, barrierDbs }) => ({ step, barrierDbs }))).toEqual([
        { step: 1, barrierDbs: [orders] },
        { step: 1, barrierDbs: [{ ...orders, tenant: 'acme' }] },
      ]);
    });
  });
});
