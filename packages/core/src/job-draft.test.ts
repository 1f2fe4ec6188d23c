import { z } from 'zod';
import { anApp, close, errorOf, sendMail, stopApps } from '../test/support/an-app.js';
import { type AnyStep, declareStep, defineStep, gidFrom, step, unchecked } from './index.js';

afterEach(stopApps);

const typed = defineStep({ name: 'typed', args: z.object({ at: z.iso.datetime().transform((text) => new Date(text)) }), run() {} });
const blob = defineStep({ name: 'blob', args: unchecked<string>(), run() {} });

describe('A job is refused before anything is written', () => {
  it('when it has no steps', async () => {
    const { stepping, tm } = await anApp();
    const job = stepping.createJob({ gid: 'g' });
    const error = await errorOf(() => job.start());
    expect(error.code).toBe('JOB_EMPTY');
    expect(error.message).toMatch(/Job g has no steps.*addStep/);
    expect(tm.calls).toEqual([]);
    await expect(job.addStep(close).start()).resolves.toMatchObject({ gid: 'g' });
  });

  it.each(['', 'with space', 'a/b', 'ä', 'x'.repeat(129), 'a\n'])('when its gid is %j', async (gid) => {
    const { stepping } = await anApp();
    const error = await errorOf(() => stepping.createJob({ gid }));
    expect(error.code).toBe('GID_INVALID');
    expect(error.message).toContain('gidFrom(');
    expect(() => stepping.createJob({ gid: gidFrom(gid) })).not.toThrow();
  });

  it('when its tenant is empty', async () => {
    const { stepping } = await anApp();
    const error = await errorOf(() => stepping.createJob({ tenant: '' }));
    expect(error.code).toBe('CONFIG_INVALID');
    expect(error.message).toContain('tenant');
  });

  it.each<[string, unknown, string]>([
    ['a Date', { to: new Date(0) }, 'args.to is a Date'],
    ['a Map in a list', [1, new Map()], 'args[1] is a Map'],
    ['NaN', { deep: [{ n: Number.NaN }] }, 'args.deep[0].n is NaN'],
    ['a bigint', 5n, 'args is a bigint'],
    ['a function', { f() {} }, 'args.f is a function'],
  ])('when args hold %s', async (_, args, text) => {
    const { stepping, tm } = await anApp();
    const error = await errorOf(() => stepping.createJob().addStep(sendMail as AnyStep, args));
    expect(error.code).toBe('ARGS_NOT_JSON');
    expect(error.message).toContain(`Step order.send-mail: ${text}`);
    expect(tm.calls).toEqual([]);
  });

  it('when args contain themselves', async () => {
    const { stepping } = await anApp();
    const args: Record<string, unknown> = {};
    args.self = args;
    expect((await errorOf(() => stepping.createJob().addStep(sendMail as AnyStep, args))).code).toBe('ARGS_NOT_JSON');
  });

  it('when args do not fit the schema, naming step, path and issue', async () => {
    const { stepping, tm } = await anApp({ steps: [close, typed] });
    const error = await errorOf(() => stepping.createJob({ gid: 'g' }).addStep(close).addStep(typed, { at: 'yesterday' }).start());
    expect(error.code).toBe('ARGS_INVALID');
    expect(error.message).toMatch(/step 2 \(typed\) of job g.*at: /);
    expect(error.details.issues).toHaveLength(1);
    expect(tm.calls).toEqual([]);
  });

  it('when the form that is stored does not fit the schema, although the value did', async () => {
    const dated = defineStep({ name: 'dated', args: z.object({ at: z.preprocess((v) => v, z.string().max(3)) }), run() {} });
    const { stepping } = await anApp({ steps: [dated] });
    expect(
      (
        await errorOf(() =>
          stepping
            .createJob()
            .addStep(dated as AnyStep, { at: 'long' })
            .start(),
        )
      ).code,
    ).toBe('ARGS_INVALID');
    await stepping
      .createJob()
      .addStep(dated as AnyStep, { at: 'abc' })
      .start();
  });

  it('when a schema throws', async () => {
    const thrower = defineStep({
      name: 'thrower',
      args: z.string().transform((): string => {
        throw new Error('a bug in the schema');
      }),
      run() {},
    });
    const { stepping } = await anApp({ steps: [thrower] });
    const error = await errorOf(() => stepping.createJob().addStep(thrower, 'x').start());
    expect(error.code).toBe('ARGS_INVALID');
    expect(error.message).toContain('a bug in the schema');
  });

  it('when a step that takes no args is given some, or one that needs them none', async () => {
    const { stepping } = await anApp({ steps: [close, typed] });
    const given = await errorOf(() =>
      stepping
        .createJob()
        .addStep(close as AnyStep, 5)
        .start(),
    );
    expect(given.code).toBe('ARGS_INVALID');
    expect(given.message).toContain('takes none');
    expect(
      (
        await errorOf(() =>
          stepping
            .createJob()
            .addStep(typed as AnyStep)
            .start(),
        )
      ).code,
    ).toBe('ARGS_INVALID');
  });

  it('when args are larger than maxArgsBytes, counted in UTF-8', async () => {
    const { stepping, tm } = await anApp({ steps: [blob], maxArgsBytes: 12 });
    stepping.createJob().addStep(blob, 'x'.repeat(10)).addStep(blob, 'ä'.repeat(5));
    const error = await errorOf(() => stepping.createJob().addStep(blob, 'ä'.repeat(6)));
    expect(error.code).toBe('ARGS_TOO_LARGE');
    expect(error.message).toMatch(/blob take 14 bytes.* 12\./);
    expect(error.details).toMatchObject({ step: 'blob', bytes: 14, maxBytes: 12 });
    expect(tm.calls).toEqual([]);
  });

  it('when args are larger than 256 KiB by default', async () => {
    const { stepping } = await anApp({ steps: [blob] });
    stepping.createJob().addStep(blob, 'x'.repeat(262_142));
    expect((await errorOf(() => stepping.createJob().addStep(blob, 'x'.repeat(262_143)))).code).toBe('ARGS_TOO_LARGE');
  });

  it('when all steps together take more than 4 MiB', async () => {
    const { stepping, tm } = await anApp({ steps: [blob] });
    const job = stepping.createJob({ gid: 'g' });
    for (let i = 0; i < 17; i++) job.addStep(blob, 'x'.repeat(250_000));
    const error = await errorOf(() => job.start());
    expect(error.code).toBe('JOB_TOO_LARGE');
    expect(error.message).toMatch(/Job g takes 425\d{4} bytes with its 17 steps.*ctx\.createJob/);
    expect(tm.calls).toEqual([]);
  });

  it('when a step is implemented here, but not listed', async () => {
    const { stepping } = await anApp();
    const error = await errorOf(() => stepping.createJob().addStep(typed, { at: '' }));
    expect(error.code).toBe('STEP_UNKNOWN');
    expect(error.message).toMatch(/typed .*steps: \[…\]/);
  });

  it.each<[string, unknown, RegExp]>([
    ['undefined', undefined, /import each other/],
    ['a name', 'order.close', /"order\.close" is not a step/],
    ['a class without @step', Date, /Date is not a step.*@step/],
    ['an object with a name', { name: 'order.close' }, /defineStep/],
  ])('when a step is %s', async (_, value, text) => {
    const { stepping } = await anApp();
    const error = await errorOf(() => stepping.createJob().addStep(value as AnyStep));
    expect(error.code).toBe('STEP_UNKNOWN');
    expect(error.message).toMatch(text);
  });

  it('when a step is an instance of a class step, naming the class', async () => {
    class SendSms {
      run(): void {}
    }
    step({ name: 'sms' })(SendSms);
    const { stepping } = await anApp({ steps: [SendSms] });
    const error = await errorOf(() => stepping.createJob().addStep(new SendSms() as unknown as AnyStep));
    expect(error.message).toContain('addStep(SendSms, args)');
    await stepping.createJob().addStep(SendSms).start();
  });

  it('when its transaction is not wrapped by a db package', async () => {
    const { stepping } = await anApp();
    const error = await errorOf(() => stepping.createJob({ transaction: {} as never }));
    expect(error.code).toBe('CONFIG_INVALID');
    expect(error.message).toContain('typeormTransaction(');
  });
});

describe('A contract', () => {
  const contract = declareStep({ name: 'elsewhere', queue: 'warehouse', args: z.object({ n: z.number() }) });

  it('can be added without being listed, is stored with its queue, and its args are checked', async () => {
    const { stepping, tm } = await anApp();
    await stepping.createJob({ gid: 'g' }).addStep(contract, { n: 1 }).start();
    expect(tm.rows.get('g')?.job.steps).toEqual([{ name: 'elsewhere', queue: 'warehouse', args: '{"n":1}' }]);
    expect(
      (
        await errorOf(() =>
          stepping
            .createJob()
            .addStep(contract as AnyStep, { n: 'x' })
            .start(),
        )
      ).code,
    ).toBe('ARGS_INVALID');
  });
});
