import { declareStep, defineStep, gidFrom, implementStep, type StepContext, SteppingError, step, token, unchecked } from '@stepping/core';
import { runStep, type StartedTestJob } from '@stepping/core/testing';
import { z } from 'zod';

interface Mailer {
  send(to: string): Promise<void>;
  verify(): Promise<boolean>;
}
const Mailer = token<Mailer>('Mailer');

abstract class Sms {
  private sent = 0;
  abstract send(to: string): Promise<void>;
  get count() {
    return this.sent;
  }
}

const SmsArgs = z.object({ to: z.string() });
@step({ name: 'order.sms', args: SmsArgs, inject: [Sms] })
class SendSms {
  constructor(private readonly sms: Sms) {}
  async run({ args }: StepContext<typeof SmsArgs>) {
    await this.sms.send(args.to);
  }
}

const close = defineStep({ name: 'order.close', run: () => 'closed' });

it('runs a step with only those members of its dependencies that it uses', async () => {
  const sent: string[] = [];
  const email = defineStep({
    name: 'order.send-email',
    args: z.object({ to: z.string() }),
    inject: { mailer: Mailer, sms: Sms },
    async run({ args, deps }) {
      await deps.mailer.send(args.to);
      await deps.sms.send(args.to);
    },
  });
  const send = async (to: string) => void sent.push(to);
  await runStep(email, { args: { to: 'me' }, deps: { mailer: { send }, sms: { send } } });
  expect(sent).toEqual(['me', 'me']);
});

it('gives args as the schema makes them of their stored form', async () => {
  const at = defineStep({
    name: 'at',
    args: z.object({ at: z.iso.datetime().transform((text) => new Date(text)), n: z.number().default(3) }),
    run: ({ args }) => args,
  });
  expect(await runStep(at, { args: { at: '2026-01-01T00:00:00Z' } })).toEqual({ at: new Date('2026-01-01T00:00:00Z'), n: 3 });
});

it('refuses args that do not fit the schema, or that JSON does not keep', async () => {
  const sized = defineStep({ name: 'sized', args: z.object({ n: z.number().max(3) }), run() {} });
  await expect(runStep(sized, { args: { n: 4 } })).rejects.toMatchObject({ code: 'ARGS_INVALID' });
  const any = defineStep({ name: 'any', args: unchecked<any>(), run() {} });
  await expect(runStep(any, { args: { at: new Date() } })).rejects.toMatchObject({ code: 'ARGS_NOT_JSON' });
});

it('runs a class step with a list of fakes, or an instance that the test made', async () => {
  const sent: string[] = [];
  const sms = { send: async (to: string) => void sent.push(to) };
  await runStep(SendSms, { args: { to: 'a' }, deps: [sms] });
  await runStep(new SendSms(sms as Partial<Sms> as Sms), { args: { to: 'b' } });
  expect(sent).toEqual(['a', 'b']);
  await expect(runStep(new SendSms(sms as Partial<Sms> as Sms), { args: { to: 5 } as never })).rejects.toMatchObject({
    code: 'ARGS_INVALID',
  });
});

it('runs the implementation of a declared step', async () => {
  const declared = declareStep({ name: 'ship', args: z.object({ n: z.number() }) });
  expect(await runStep(implementStep(declared, { run: ({ args }) => args.n + 1 }), { args: { n: 1 } })).toBe(2);
});

it('gives a context of a first attempt, of which a test says what matters to it', async () => {
  const show = defineStep({
    name: 'show',
    run: ({ gid, tenant, idempotencyKey, attempt, signal }) => ({ gid, tenant, idempotencyKey, attempt, aborted: signal.aborted }),
  });
  expect(await runStep(show)).toEqual({ gid: 'test-job', tenant: undefined, idempotencyKey: 'test-job/000', attempt: 1, aborted: false });
  const given = { gid: 'g', tenant: 'acme', attempt: 4, signal: AbortSignal.abort() };
  expect(await runStep(show, given)).toEqual({ gid: 'g', tenant: 'acme', idempotencyKey: 'g/000', attempt: 4, aborted: true });
});

it('logs to the logger that a test gives, whatever it lacks', async () => {
  const lines: unknown[] = [];
  const write = (message: string, fields?: object) => void lines.push([message, fields]);
  const logger = { trace: write, debug: write, info: write, warn: write, error: write };
  await runStep(defineStep({ name: 'log', run: ({ logger }) => logger.child({ a: 1 }).info('hello', { b: 2 }) }), { logger });
  expect(lines).toEqual([['hello', { a: 1, b: 2 }]]);
});

it('writes down the jobs that the step starts, and runs none of them', async () => {
  const startedJobs: StartedTestJob[] = [];
  const parent = defineStep({
    name: 'parent',
    async run({ createJob }) {
      await createJob().addStep(close).start();
      createJob().addStep(close);
      return createJob({ gid: 'mine', tenant: 'other' }).addStep(close).addStep(SendSms, { to: 'a' }).start();
    },
  });
  expect(await runStep(parent, { tenant: 'acme', startedJobs })).toEqual({ gid: 'mine', status: 'submitted', duplicate: false });
  expect(startedJobs).toEqual([
    { gid: gidFrom('child', 'test-job/000', '0'), tenant: 'acme', steps: [{ name: 'order.close', args: undefined }] },
    {
      gid: 'mine',
      tenant: 'other',
      steps: [
        { name: 'order.close', args: undefined },
        { name: 'order.sms', args: { to: 'a' } },
      ],
    },
  ]);
});

it('refuses a started job that an app would refuse', async () => {
  const starts = (start: (context: StepContext) => unknown) => runStep(defineStep({ name: 'starts', run: start }));
  await expect(starts(({ createJob }) => createJob().start())).rejects.toMatchObject({ code: 'JOB_EMPTY' });
  await expect(starts(({ createJob }) => createJob({ gid: 'not a gid' }))).rejects.toMatchObject({ code: 'GID_INVALID' });
  await expect(
    starts(({ createJob }) =>
      createJob()
        .addStep(SendSms, { to: 5 } as never)
        .start(),
    ),
  ).rejects.toMatchObject({
    code: 'ARGS_INVALID',
  });
});

it('resolves to what run returns and rejects with what it throws', async () => {
  expect(await runStep(close)).toBe('closed');
  const error = new SteppingError('STEP_PERMANENT', 'no');
  await expect(runStep(defineStep({ name: 'throws', run: () => Promise.reject(error) }))).rejects.toBe(error);
  await expect(
    runStep(
      defineStep({
        name: 'throws',
        run() {
          throw error;
        },
      }),
    ),
  ).rejects.toBe(error);
});
