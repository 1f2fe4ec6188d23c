import { errorOf, Recorder } from '../test/support/an-app.js';
import { BusinessDatabase } from '../test/support/business-database.js';
import { MemoryTm } from '../test/support/memory-tm.js';
import {
  type AnyStep,
  createStepping,
  DbProviders,
  declareStep,
  defineStep,
  Events,
  provide,
  type SteppingOptions,
  type SteppingPlugin,
  step,
  type TmPlugin,
  token,
} from './index.js';

const tm = () => new MemoryTm().plugin;
const close = defineStep({ name: 'close', run() {} });
const create = (options: Partial<SteppingOptions>) => createStepping({ tm: tm(), ...options } as SteppingOptions);

describe('createStepping refuses', () => {
  it('to go without a transaction manager, naming the packages that have one', async () => {
    const error = await errorOf(() => create({ tm: undefined as never }));
    expect(error.code).toBe('PLUGIN_MISSING');
    expect(error.message).toMatch(/@stepping\/tm-local.*@stepping\/tm-dtm/);
  });

  it('a store in the place of the transaction manager', async () => {
    const store = { name: 'memoryStore', provides: 'store' };
    const error = await errorOf(() => create({ tm: store as unknown as TmPlugin }));
    expect(error.code).toBe('PLUGIN_MISSING');
    expect(error.message).toContain('"memoryStore"');
  });

  it.each([
    ['tm', /tm: of createStepping/],
    ['store', /store: of localTm/],
    ['processor', /processor: of localTm/],
  ])('a %s plugin in use, where nothing asks for it', async (provides, text) => {
    const error = await errorOf(() => create({ use: [[{ name: 'misplaced', provides } as SteppingPlugin]] }));
    expect(error.code).toBe('CONFIG_INVALID');
    expect(error.message).toMatch(text);
  });

  it('something in use that is no plugin', async () => {
    expect((await errorOf(() => create({ use: ['x' as never] }))).code).toBe('CONFIG_INVALID');
  });

  it.each([
    ['the same step twice', [close, close]],
    ['two steps of one name', [close, defineStep({ name: 'close', run() {} })]],
    ['an alias that is the name of another', [close, defineStep({ name: 'finish', aliases: ['close'], run() {} })]],
    ['one alias twice', [defineStep({ name: 'a', aliases: ['x'], run() {} }), defineStep({ name: 'b', aliases: ['x'], run() {} })]],
  ])('%s', async (_, steps) => {
    const error = await errorOf(() => create({ steps }));
    expect(error.code).toBe('STEP_DUPLICATE');
    expect(error.message).toMatch(/"(close|x)"/);
  });

  it('a step that an import circle left undefined', async () => {
    const error = await errorOf(() => create({ steps: [undefined as unknown as AnyStep] }));
    expect(error.code).toBe('STEP_UNKNOWN');
    expect(error.message).toContain('import each other');
  });

  it('a contract in the list of what runs here', async () => {
    const error = await errorOf(() => create({ steps: [declareStep({ name: 'elsewhere' })] }));
    expect(error.code).toBe('CONFIG_INVALID');
    expect(error.message).toMatch(/elsewhere.*implementStep/);
  });

  it.each<[string, object]>([
    ['name', { name: '' }],
    ['alias', { aliases: [''] }],
    ['queue', { queue: '' }],
    ['queue', { queue: '~db/x' }],
    ['args', { args: {} }],
    ['retry', { retry: 5 }],
    ['maxAttempts', { retry: { maxAttempts: 0 } }],
    ['maxAttempts', { retry: { maxAttempts: 1.5 } }],
    ['maxAttempts', { retry: { maxAttempts: '3' } }],
    ['minDelayMs', { retry: { minDelayMs: -1 } }],
    ['minDelayMs', { retry: { minDelayMs: Number.NaN } }],
    ['maxDelayMs', { retry: { maxDelayMs: Number.POSITIVE_INFINITY } }],
    ['maxDelayMs', { retry: { minDelayMs: 10, maxDelayMs: 5 } }],
    ['timeoutMs', { timeoutMs: 0 }],
    ['timeoutMs', { timeoutMs: 2 ** 31 }],
    ['run', { run: 'x' }],
  ])('a step with a wrong %s: %j', async (option, wrong) => {
    const error = await errorOf(() => create({ steps: [defineStep({ name: 'x', run() {}, ...wrong } as { name: string; run(): void })] }));
    expect(error.code).toBe('CONFIG_INVALID');
    expect(error.message).toContain(option);
    expect(error.message).toContain('must be');
  });

  it('a class step with a wrong option, too', async () => {
    class Wrong {
      run(): void {}
    }
    step({ name: 'wrong', timeoutMs: -1 })(Wrong);
    expect((await errorOf(() => create({ steps: [Wrong] }))).message).toContain('timeoutMs of step wrong');
  });

  it.each<[string, object]>([
    ['retry.maxAttempts', { retry: { maxAttempts: -1 } }],
    ['maxArgsBytes', { maxArgsBytes: 0 }],
    ['maxArgsBytes', { maxArgsBytes: 1.5 }],
    ['logger.trace', { logger: { info() {} } }],
  ])('a wrong %s', async (option, wrong) => {
    const error = await errorOf(() => create(wrong));
    expect(error.code).toBe('CONFIG_INVALID');
    expect(error.message).toContain(option);
  });
});

describe('The wiring of an app', () => {
  const Mailer = token<{ name: string }>('Mailer');

  it('flattens use, and lets the last one that provides a token win', async () => {
    const stepping = create({
      use: [provide(Mailer, () => ({ name: 'first' })), [false, null, [provide(Mailer, () => ({ name: 'last' }))]], undefined],
    });
    expect(stepping.resolve(Mailer).name).toBe('last');
  });

  it('lets use replace a service of the transaction manager', () => {
    const plugin: TmPlugin = { ...tm(), register: (registry) => registry.provide(Mailer, () => ({ name: 'of the tm' })) };
    expect(create({ tm: plugin, use: [provide(Mailer, () => ({ name: 'replaced' }))] }).resolve(Mailer).name).toBe('replaced');
  });

  it('makes each service once, when it is first asked for', () => {
    let made = 0;
    const stepping = create({ use: [provide(Mailer, () => ({ name: `${++made}` }))] });
    expect(made).toBe(0);
    expect(stepping.resolve(Mailer)).toBe(stepping.resolve(Mailer));
    expect(made).toBe(1);
  });

  it('keeps the services of two apps apart', () => {
    const plugin = provide(Mailer, () => ({ name: '' }));
    expect(create({ use: [plugin] }).resolve(Mailer)).not.toBe(create({ use: [plugin] }).resolve(Mailer));
  });

  it('says which plugin needs what, and who provides it', async () => {
    const Missing = token('Clock', { providedBy: 'realClock() of @stepping/clock to use' });
    const error = await errorOf(() =>
      create({ use: [{ name: 'scheduler', requires: [Mailer, Missing] }, provide(Mailer, () => ({ name: '' }))] }).start(),
    );
    expect(error.code).toBe('PLUGIN_MISSING');
    expect(error.message).toBe('scheduler needs Clock, and no plugin provides it. Add realClock() of @stepping/clock to use.');
  });

  it('starts nothing when a plugin is missing', async () => {
    const started: string[] = [];
    const eager: SteppingPlugin = { name: 'eager', start: () => void started.push('eager') };
    await errorOf(() => create({ use: [eager, { name: 'needy', requires: [Mailer] }] }).start());
    expect(started).toEqual([]);
  });

  it('says so when services need each other', async () => {
    const Other = token<{ name: string }>('Other');
    const stepping = create({ use: [provide(Mailer, (r) => r.resolve(Other)), provide(Other, (r) => r.resolve(Mailer))] });
    const error = await errorOf(() => stepping.resolve(Mailer));
    expect(error.code).toBe('CONFIG_INVALID');
    expect(error.message).toContain('Mailer → Other → Mailer');
  });

  it('refuses two databases of one name', async () => {
    const error = await errorOf(() => create({ use: [new BusinessDatabase().plugin, new BusinessDatabase().plugin] }).start());
    expect(error.code).toBe('CONFIG_INVALID');
    expect(error.message).toContain('"default"');
  });

  it('finds databases by provider and name', async () => {
    const [one, two] = [new BusinessDatabase('one'), new BusinessDatabase('two')];
    const stepping = create({ use: [one.plugin, two.plugin] });
    await stepping.start();
    const databases = stepping.resolve(DbProviders);
    expect(databases.find({ provider: 'memory', name: 'two', tenant: 'acme' })).toBe(two);
    expect(databases.find({ provider: 'other', name: 'two' })).toBeUndefined();
    expect(databases.all()).toEqual([one, two]);
  });
});

describe('migrate()', () => {
  it('is possible before start, in the order of start, and hands the tenant on', async () => {
    const order: string[] = [];
    const migrating = (name: string) => ({
      name,
      migrate: async (_: unknown, { tenant }: { tenant: string | undefined }) => void order.push(`${name} ${tenant}`),
    });
    const stepping = create({ tm: { ...tm(), ...migrating('tm'), provides: 'tm' }, use: [migrating('a'), { name: 'b' }] });
    await stepping.migrate();
    await stepping.migrate({ tenant: 'acme' });
    expect(order).toEqual(['a undefined', 'tm undefined', 'a acme', 'tm acme']);
    expect((await errorOf(() => stepping.migrate({ tenant: '' }))).code).toBe('CONFIG_INVALID');
  });
});

describe('handle()', () => {
  const request = () => new Request('http://localhost/stepping');

  it('answers 404 with a transaction manager that is not called back', async () => {
    expect((await create({}).handle(request())).status).toBe(404);
  });

  it('answers 503 until the app is started, then hands the request on', async () => {
    const memory = new MemoryTm();
    memory.handle = async ({ url }) => new Response(url);
    const stepping = create({ tm: memory.plugin });
    expect((await stepping.handle(request())).status).toBe(503);
    await stepping.start();
    await expect((await stepping.handle(request())).text()).resolves.toBe('http://localhost/stepping');
  });
});

describe('on()', () => {
  it('reaches listeners until they unsubscribe, whatever they throw or reject with', async () => {
    const log = new Recorder();
    const stepping = create({ logger: log });
    const heard: string[] = [];
    stepping.on('job.lease-lost', () => {
      throw new Error('sync');
    });
    stepping.on('job.lease-lost', async () => {
      throw new Error('async');
    });
    const off = stepping.on('job.lease-lost', ({ gid }) => heard.push(gid));
    const events = stepping.resolve(Events);
    events.emit('job.lease-lost', { gid: '1' });
    off();
    events.emit('job.lease-lost', { gid: '2' });
    await new Promise(setImmediate);
    expect(heard).toEqual(['1']);
    expect(log.entries.map(({ fields }) => (fields.error as Error).message).sort()).toEqual(['async', 'async', 'sync', 'sync']);
  });
});
