import { aClaim } from '../test/support/a-claim.js';
import { close, errorOf, Recorder } from '../test/support/an-app.js';
import { BusinessDatabase } from '../test/support/business-database.js';
import { MemoryTm } from '../test/support/memory-tm.js';
import { createStepping, type SteppingPlugin, Steps, TransactionScope } from './index.js';

const tm = () => new MemoryTm().plugin;

function recording(name: string, order: string[], more: Partial<SteppingPlugin> = {}): SteppingPlugin {
  return {
    name,
    start: async () => void order.push(`start ${name}`),
    quiesce: () => void order.push(`quiesce ${name}`),
    stop: async (_, { drainTimeoutMs }) => void order.push(`stop ${name} ${drainTimeoutMs === undefined ? 'as it likes' : 'in time'}`),
    ...more,
  };
}

const hanging = () => new Promise<void>(() => {});

describe('start()', () => {
  it('starts use in order and the transaction manager last; stop() takes the reverse order', async () => {
    const order: string[] = [];
    const stepping = createStepping({
      tm: { ...tm(), ...recording('tm', order), provides: 'tm' },
      use: [recording('a', order), recording('b', order)],
    });
    await stepping.start();
    await stepping.stop();
    expect(order).toEqual([
      ...['start a', 'start b', 'start tm'],
      ...['quiesce tm', 'quiesce b', 'quiesce a'],
      ...['stop tm as it likes', 'stop b as it likes', 'stop a as it likes'],
    ]);
  });

  it('twice is one promise', async () => {
    const order: string[] = [];
    const stepping = createStepping({ tm: tm(), use: [recording('a', order)] });
    expect(stepping.start()).toBe(stepping.start());
    await stepping.start();
    expect(order).toEqual(['start a']);
  });

  it('throws what a plugin throws, after it stopped what was started, the failed one included', async () => {
    const order: string[] = [];
    const failed = new Error('the store is down');
    const broken = recording('b', order, {
      start: async () => {
        throw failed;
      },
    });
    const stepping = createStepping({ tm: tm(), use: [recording('a', order), broken, recording('c', order)] });
    expect(await errorOf(() => stepping.start())).toBe(failed);
    expect(order).toEqual(['start a', 'stop b in time', 'stop a in time']);
    expect(await errorOf(() => stepping.start())).toBe(failed);
    expect((await errorOf(() => stepping.createJob().addStep(close))).code).toBe('STEP_UNKNOWN');
    await stepping.stop();
    expect(order).toHaveLength(3);
  });

  it('is waited for by jobs: NOT_STARTED says what to do', async () => {
    const stepping = createStepping({ steps: [close], tm: tm() });
    const before = await errorOf(() => stepping.createJob().addStep(close).start());
    expect(before.code).toBe('NOT_STARTED');
    expect(before.message).toContain('await stepping.start()');
    expect((await errorOf(() => stepping.jobs.find('g'))).code).toBe('NOT_STARTED');
    const starting = stepping.start();
    expect((await errorOf(() => stepping.createJob().addStep(close).start())).message).toContain('has not finished yet');
    await starting;
  });

  it('is not possible after stop()', async () => {
    const stepping = createStepping({ tm: tm() });
    await stepping.stop();
    const error = await errorOf(() => stepping.start());
    expect(error.code).toBe('NOT_STARTED');
    expect(error.message).toContain('no restart');
  });
});

describe('stop()', () => {
  it('twice is one promise, and works as the dispose of `await using`', async () => {
    const order: string[] = [];
    const stepping = createStepping({ tm: tm(), use: [recording('a', order)] });
    await stepping.start();
    expect(stepping.stop()).toBe(stepping.stop());
    await stepping[Symbol.asyncDispose]();
    expect(order.filter((entry) => entry.startsWith('stop'))).toHaveLength(1);
  });

  it('waits for a start that is under way', async () => {
    const order: string[] = [];
    const { promise, resolve } = Promise.withResolvers<void>();
    const slow = recording('slow', order, { start: () => promise });
    const stepping = createStepping({ tm: { ...tm(), ...recording('tm', order), provides: 'tm' }, use: [slow] });
    const starting = stepping.start();
    const stopping = stepping.stop();
    await new Promise(setImmediate);
    expect(order).toEqual([]);
    resolve();
    await Promise.all([starting, stopping]);
    expect(order).toEqual(['start tm', 'quiesce tm', 'quiesce slow', 'stop tm as it likes', 'stop slow as it likes']);
  });

  it('ends although a start hangs, and that start starts nothing more when it wakes', async () => {
    const order: string[] = [];
    const { promise, resolve } = Promise.withResolvers<void>();
    const slow = recording('slow', order, { start: () => promise });
    const stepping = createStepping({ tm: { ...tm(), ...recording('tm', order), provides: 'tm' }, use: [slow] });
    const starting = stepping.start();
    await stepping.stop({ drainTimeoutMs: 10 });
    resolve();
    expect((await errorOf(() => starting)).code).toBe('NOT_STARTED');
    expect(order).toEqual(['quiesce slow', 'stop slow in time']);
    expect((await errorOf(() => stepping.createJob().start())).code).toBe('NOT_STARTED');
  });

  it('ends within the drain time and a second although a plugin hangs, and stops the others', async () => {
    const order: string[] = [];
    const log = new Recorder();
    const stepping = createStepping({
      logger: log,
      tm: { ...tm(), stop: hanging },
      use: [recording('a', order), { name: 'b', stop: hanging }],
    });
    await stepping.start();
    const calledAt = performance.now();
    await stepping.stop({ drainTimeoutMs: 50 });
    expect(performance.now() - calledAt).toBeLessThan(1_500);
    expect(order).toContain('stop a in time');
    expect(log.of('error')).toEqual([expect.stringContaining('memory-tm does not stop'), expect.stringContaining('b does not stop')]);
  });

  it('goes on when a plugin fails to stop', async () => {
    const order: string[] = [];
    const log = new Recorder();
    const failing = { name: 'failing', quiesce: () => fail(), stop: async () => fail() };
    const stepping = createStepping({ logger: log, tm: tm(), use: [recording('a', order), failing] });
    await stepping.start();
    await stepping.stop();
    expect(order).toContain('stop a as it likes');
    expect(log.of('error')).toEqual(['failing failed to quiesce', 'failing failed to stop']);
  });

  it.each([-1, Number.NaN, 'soon' as never])('refuses a drain time of %p, and is still possible', async (drainTimeoutMs) => {
    const order: string[] = [];
    const stepping = createStepping({ tm: tm(), use: [recording('a', order)] });
    await stepping.start();
    expect((await errorOf(() => stepping.stop({ drainTimeoutMs }))).code).toBe('CONFIG_INVALID');
    await stepping.stop();
    expect(order).toContain('stop a as it likes');
  });

  it('takes no new work from the moment it is called', async () => {
    const database = new BusinessDatabase();
    const stepping = createStepping({ steps: [close], tm: { ...tm(), stop: hanging }, use: [database.plugin] });
    await stepping.start();
    const stopping = stepping.stop({ drainTimeoutMs: 0 });
    await new Promise(setImmediate);
    const transaction = database.begin();
    expect((await errorOf(() => stepping.createJob().addStep(close).start())).code).toBe('NOT_STARTED');
    expect((await errorOf(() => stepping.createJob({ transaction }).addStep(close).prepare())).code).toBe('NOT_STARTED');
    expect((await errorOf(() => stepping.resolve(TransactionScope).run(async () => {}))).code).toBe('NOT_STARTED');
    expect((await errorOf(() => stepping.migrate())).code).toBe('NOT_STARTED');
    await stopping;
  });

  it('lets an open business transaction prepare, commit and submit, before any plugin is stopped', async () => {
    const order: string[] = [];
    const database = new BusinessDatabase();
    const memory = new MemoryTm();
    const stepping = createStepping({
      steps: [close],
      tm: { ...memory.plugin, ...recording('tm', order), register: memory.plugin.register, provides: 'tm' } as never,
      use: [database.plugin],
    });
    await stepping.start();
    const { promise: may, resolve: goOn } = Promise.withResolvers<void>();
    const body = stepping.resolve(TransactionScope).run(async () => {
      await may;
      const job = stepping.createJob({ gid: 'g', transaction: database.begin() }).addStep(close);
      await job.start();
      order.push('body');
    });
    const stopping = stepping.stop({ drainTimeoutMs: 5_000 });
    await new Promise(setImmediate);
    expect(order).toEqual(['start tm', 'quiesce tm']);
    goOn();
    await Promise.all([body, stopping]);
    expect(order).toEqual(['start tm', 'quiesce tm', 'body', 'stop tm in time']);
    expect(memory.statusOf('g')).toBe('submitted');
  });

  it('waits no longer than the drain time for an open business transaction, which then cannot prepare', async () => {
    const database = new BusinessDatabase();
    const log = new Recorder();
    const stepping = createStepping({ logger: log, steps: [close], tm: tm(), use: [database.plugin] });
    await stepping.start();
    const { promise: may, resolve: goOn } = Promise.withResolvers<void>();
    const body = stepping.resolve(TransactionScope).run(async () => {
      await may;
      await stepping.createJob({ transaction: database.begin() }).addStep(close).start();
    });
    await stepping.stop({ drainTimeoutMs: 10 });
    goOn();
    expect((await errorOf(() => body)).code).toBe('NOT_STARTED');
    expect(log.of('warn')).toEqual([expect.stringContaining('still open')]);
  });

  it('waits for starts that are under way', async () => {
    const memory = new MemoryTm();
    const { promise: may, resolve: goOn } = Promise.withResolvers<void>();
    const start = memory.start.bind(memory);
    memory.start = async (job) => {
      await may;
      return start(job);
    };
    const stopped: string[] = [];
    const stepping = createStepping({ steps: [close], tm: { ...memory.plugin, stop: () => void stopped.push('tm') } });
    await stepping.start();
    const starting = stepping.createJob().addStep(close).start();
    const stopping = stepping.stop();
    await new Promise(setImmediate);
    expect(stopped).toEqual([]);
    goOn();
    await expect(starting).resolves.toMatchObject({ status: 'submitted' });
    await stopping;
  });

  it('can be called from a step, and lets a step that runs start the jobs that it starts', async () => {
    const memory = new MemoryTm();
    const { promise: drained, resolve: drain } = Promise.withResolvers<void>();
    const stepping = createStepping({
      steps: [
        {
          ...close,
          run: async ({ createJob }) => {
            void stepping.stop();
            await new Promise(setImmediate);
            await createJob({ gid: 'child' }).addStep(close).start();
            await stepping.resolve(TransactionScope).run(async () => {});
          },
        } satisfies typeof close,
      ],
      tm: { ...memory.plugin, stop: () => drained },
    }) as ReturnType<typeof createStepping>;
    await stepping.start();
    const runnable = await stepping.resolve(Steps).open({ name: 'order.close', args: undefined });
    await runnable.run({ gid: 'g', tenant: undefined, stepIndex: 0, attempt: 1, signal: AbortSignal.abort(), claim: aClaim() });
    expect(memory.statusOf('child')).toBe('submitted');
    drain();
    await stepping.stop();
  });
});

function fail(): never {
  throw new Error('on purpose');
}
