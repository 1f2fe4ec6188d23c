import { jest } from '@jest/globals';
import { anApp, close, errorOf, stopApps } from '../test/support/an-app.js';
import { MemoryTm } from '../test/support/memory-tm.js';
import { Events, type JobFilter, type Jobs, step } from './index.js';

afterEach(stopApps);
afterEach(() => jest.useRealTimers()); // the last one is called first

/** A TM whose operations note how they were called. */
function operator() {
  const tm = new MemoryTm();
  const asked: unknown[][] = [];
  const note =
    (answer: unknown) =>
    async (...args: unknown[]) => {
      asked.push(args);
      return answer;
    };
  tm.operations = {
    list: note({ jobs: [] }),
    redrive: note(undefined),
    redriveAll: note({ redriven: 3 }),
    cancel: note(undefined),
    purge: note({ purged: 2 }),
    stats: note({ submitted: 1 }),
    settle: note(undefined),
  } as unknown as MemoryTm['operations'];
  return { tm, asked };
}

describe('jobs.find', () => {
  it('shows a job without its instance', async () => {
    const { stepping } = await anApp();
    await stepping.createJob({ gid: 'g' }).addStep(close).start();
    const job = await stepping.jobs.find('g');
    expect(job).toMatchObject({ gid: 'g', status: 'submitted', steps: [{ name: 'order.close', status: 'waiting' }] });
    expect(job).not.toHaveProperty('instance');
  });

  it('gives undefined for a job that is not there, or is being purged', async () => {
    const { stepping, tm } = await anApp();
    tm.leave('g', 'purging');
    await expect(stepping.jobs.find('g')).resolves.toBeUndefined();
    await expect(stepping.jobs.find('none')).resolves.toBeUndefined();
    expect((await errorOf(() => stepping.jobs.find('no gid'))).code).toBe('GID_INVALID');
  });
});

describe('jobs.wait', () => {
  it('resolves with a job that is finished already', async () => {
    const { stepping, tm } = await anApp();
    for (const status of ['succeeded', 'failed', 'cancelled', 'rolled-back'] as const) {
      tm.leave('g', status);
      await expect(stepping.jobs.wait('g', { timeoutMs: 0 })).resolves.toMatchObject({ status });
    }
  });

  it('is woken by the event of this process, well before its next look', async () => {
    const { stepping, tm } = await anApp();
    tm.leave('g', 'submitted');
    const waiting = stepping.jobs.wait('g', { timeoutMs: 60_000 });
    await new Promise(setImmediate);
    const looks = tm.calls.length;
    stepping.resolve(Events).emit('job.succeeded', { gid: 'another', tenant: undefined });
    await new Promise(setImmediate);
    expect(tm.calls.length).toBe(looks);
    tm.leave('g', 'succeeded');
    stepping.resolve(Events).emit('job.succeeded', { gid: 'g', tenant: undefined });
    await expect(waiting).resolves.toMatchObject({ status: 'succeeded' });
    expect(tm.calls.length).toBe(looks + 1);
    expect(stepping.resolve(Events).hasListeners('job.succeeded')).toBe(false);
  });

  it('sees a job that ended in another process', async () => {
    const { stepping, tm } = await anApp();
    tm.leave('g', 'prepared');
    const waiting = stepping.jobs.wait('g', { timeoutMs: 60_000 });
    await new Promise(setImmediate);
    tm.leave('g', 'rolled-back');
    await expect(waiting).resolves.toMatchObject({ status: 'rolled-back' });
  });

  it('gives up in time, saying where the job stands', async () => {
    const { stepping } = await anApp();
    await stepping.createJob({ gid: 'g' }).addStep(close).start();
    const error = await errorOf(() => stepping.jobs.wait('g', { timeoutMs: 60 }));
    expect(error.code).toBe('WAIT_TIMEOUT');
    expect(error.message).toMatch(/g is still submitted after 60 ms \(step 1 of 1, order\.close, attempt 1\)/);
  });

  it('throws the reason of its signal, and leaves no listener behind', async () => {
    const { stepping, tm } = await anApp();
    tm.leave('g', 'submitted');
    const controller = new AbortController();
    const waiting = stepping.jobs.wait('g', { timeoutMs: 60_000, signal: controller.signal });
    await new Promise(setImmediate);
    const reason = new Error('shutting down');
    controller.abort(reason);
    expect(await errorOf(() => waiting)).toBe(reason);
    expect(stepping.resolve(Events).hasListeners('job.failed')).toBe(false);
    expect(await errorOf(() => stepping.jobs.wait('g', { timeoutMs: 1, signal: controller.signal }))).toBe(reason);
  });

  it('refuses a job that is not there, and a time that is none', async () => {
    const { stepping } = await anApp();
    const error = await errorOf(() => stepping.jobs.wait('g', { timeoutMs: 1_000 }));
    expect(error.code).toBe('JOB_NOT_FOUND');
    expect(error.message).toContain('purged');
    expect((await errorOf(() => stepping.jobs.wait('g', { timeoutMs: -1 }))).code).toBe('CONFIG_INVALID');
  });
});

describe('Operations', () => {
  it('are handed to the transaction manager, steps by name', async () => {
    const { tm, asked } = operator();
    const { stepping } = await anApp({ tm });
    const before = new Date();
    await stepping.jobs.list({ step: close, status: ['failed', 'cancelled'], limit: 5 });
    await stepping.jobs.list();
    await stepping.jobs.redrive('g');
    await expect(stepping.jobs.redriveAll({ step: 'gone.in.this.release' })).resolves.toEqual({ redriven: 3 });
    await stepping.jobs.cancel('g', 'by hand');
    await expect(stepping.jobs.purge({ finishedBefore: before })).resolves.toEqual({ purged: 2 });
    await expect(stepping.jobs.stats()).resolves.toEqual({ submitted: 1 });
    await stepping.jobs.settle('g', 'rolled-back', 'the tenant is gone');
    expect(asked).toEqual([
      [{ step: 'order.close', status: ['failed', 'cancelled'], limit: 5 }],
      [{}],
      ['g'],
      [{ step: 'gone.in.this.release' }],
      ['g', 'by hand'],
      [{ finishedBefore: before }],
      [],
      ['g', 'rolled-back', 'the tenant is gone'],
    ]);
  });

  it('know class steps by their stored name', async () => {
    class Archive {
      run(): void {}
    }
    step({ name: 'order.archive' })(Archive);
    const { tm, asked } = operator();
    const { stepping } = await anApp({ tm, steps: [Archive] });
    await stepping.jobs.list({ step: Archive });
    expect(asked).toEqual([[{ step: 'order.archive' }]]);
  });

  it('redrive only by what redriveAll knows: a status or a limit that slipped in is left out', async () => {
    const { tm, asked } = operator();
    const { stepping } = await anApp({ tm });
    await stepping.jobs.redriveAll({ tenant: 'acme', status: 'succeeded', limit: 1 } as JobFilter);
    expect(asked[0]?.[0]).toEqual({ tenant: 'acme' });
  });

  it('of a transaction manager without them are unsupported, each by name', async () => {
    const { stepping, tm } = await anApp();
    for (const has of [undefined, {} as MemoryTm['operations']]) {
      tm.operations = has;
      const error = await errorOf(() => stepping.jobs.redrive('g'));
      expect(error.code).toBe('UNSUPPORTED_BY_TM');
      expect(error.message).toContain('jobs.redrive');
    }
  });

  it.each<[string, (jobs: Jobs) => Promise<unknown>]>([
    ['status', (jobs) => jobs.list({ status: 'running' as never })],
    ['status', (jobs) => jobs.list({ status: ['failed', 'purging' as never] })],
    ['limit', (jobs) => jobs.list({ limit: 0 })],
    ['limit', (jobs) => jobs.list({ limit: 1_001 })],
    ['step', (jobs) => jobs.list({ step: '' })],
    ['tenant', (jobs) => jobs.list({ tenant: '' })],
    ['cursor', (jobs) => jobs.list({ cursor: 5 as never })],
    ['createdAfter', (jobs) => jobs.list({ createdAfter: new Date('never') })],
    ['createdBefore', (jobs) => jobs.redriveAll({ createdBefore: 'today' as never })],
    ['finishedBefore', (jobs) => jobs.purge({} as never)],
    ['finishedBefore', (jobs) => jobs.purge(undefined as never)],
    ['verdict', (jobs) => jobs.settle('g', 'succeeded' as never, 'why')],
    ['reason', (jobs) => jobs.settle('g', 'submitted', '')],
    ['reason', (jobs) => jobs.cancel('g', '')],
  ])('refuse a wrong %s before the transaction manager is asked', async (option, ask) => {
    const { tm, asked } = operator();
    const { stepping } = await anApp({ tm });
    const error = await errorOf(() => ask(stepping.jobs));
    expect(error.code).toBe('CONFIG_INVALID');
    expect(error.message).toContain(option);
    expect(asked).toEqual([]);
  });
});
