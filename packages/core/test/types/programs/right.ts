// Programs that must compile, though a stricter API would refuse them.
import {
  createStepping,
  type DepsOf,
  declareStep,
  defineStep,
  type Input,
  implementStep,
  type JsonSafe,
  permanent,
  provide,
  type Schema,
  type StepContext,
  type Stepping,
  SteppingError,
  type SteppingOptions,
  step,
  stepName,
  token,
  unchecked,
} from '@stepping/core';
import { type HttpRequest, httpStep } from '@stepping/core/http';
import { runStep } from '@stepping/core/testing';
import { inTransaction, typeormDb, typeormTransaction } from '@stepping/db-typeorm';
import { localTm, memoryStore } from '@stepping/tm-local';
import { hostedProcessor } from '@stepping/tm-local-hosted-processor';
import { typeormStore } from '@stepping/tm-local-typeorm';
import type { DataSource, EntityManager, QueryRunner } from 'typeorm';
import * as v from 'valibot';
import { z } from 'zod';

interface Mailer {
  send(to: string): Promise<{ accepted: boolean }>;
  verify(): Promise<void>;
}
const Mailer = token<Mailer>('Mailer');
abstract class Sms {
  private n = 0;
  abstract send(to: string): Promise<void>;
  get count() {
    return this.n;
  }
}
class Twilio extends Sms {
  async send() {}
}
declare const dataSource: DataSource;
declare const manager: EntityManager;
declare const queryRunner: QueryRunner;
declare const maybe: string | undefined;

// Steps of every form
const email = defineStep({
  name: 'order.send-email',
  args: z.object({ orderId: z.string(), at: z.iso.datetime().transform((s) => new Date(s)) }),
  inject: { mailer: Mailer, sms: Sms },
  retry: { maxAttempts: undefined, minDelayMs: 5 },
  timeoutMs: undefined,
  run: ({ args, deps }) => deps.mailer.send(args.at.toISOString()),
});
const close = defineStep({ name: 'order.close', run() {} });
const optional = defineStep({
  name: 'x',
  args: z.object({ q: z.number().default(1) }).optional(),
  run: ({ args }) => args?.q.toFixed(),
});
const union = defineStep({ name: 'y', args: unchecked<{ a: string } | { b: number }>(), run() {} });
const valibot = defineStep({ name: 'v', args: v.object({ a: v.optional(v.string(), 'x') }), run: ({ args }) => args.a.length });
const SmsArgs = z.object({ to: z.string() });
@step({ name: 'order.sms', args: SmsArgs, inject: [Sms, Mailer] })
class SendSms {
  readonly sms: Sms;
  constructor(sms: Sms, _mailer: Mailer) {
    this.sms = sms;
  }
  async run({ args, createJob, signal }: StepContext<typeof SmsArgs>) {
    signal.throwIfAborted();
    await this.sms.send(args.to);
    return createJob({ tenant: maybe }).addStep(close).start();
  }
}
class Plain {
  readonly run = async (_: StepContext) => {};
}
step({ name: 'plain' })(Plain);
const ship = declareStep({ name: 'ship', queue: maybe, args: SmsArgs });
const shipHere = implementStep(ship, { inject: { sms: Sms }, run: ({ args, deps }) => deps.sms.send(args.to) });
const bank = httpStep({
  name: 'bank.out',
  args: unchecked<{ amount: number }>(),
  inject: { mailer: Mailer },
  request: (args) => ({ method: 'PUT', url: new URL('https://bank.example'), query: { a: 1, b: [true, maybe], c: undefined }, json: args }),
  headers: async ({ deps, tenant }) => ({ authorization: `${(await deps.mailer.send('x')).accepted} ${tenant}` }),
  outcome: (status) => (status === 409 ? 'succeed' : undefined),
});
const built: HttpRequest = {
  url: 'https://bank.example',
  headers: undefined,
  form: { a: 'b' },
  followRedirects: true,
  maxResponseBytes: 5,
};
const ping = httpStep({ name: 'ping', request: () => built });

/** A factory of steps by somebody else. */
export function audited<const N extends string, A extends Schema>(name: N, args: A & JsonSafe<A>) {
  return defineStep<N, A>({ name, args, run: ({ args, logger }) => logger.info('audit', { args }) });
}
const audit = audited('audit', z.object({ who: z.string() }));

// Apps
const tm = process.env.NOW
  ? localTm({ store: memoryStore(), processor: false })
  : localTm({ store: typeormStore({ dataSource }), processor: hostedProcessor({ concurrency: 4 }), leaseMs: 5_000 });
const stepping = createStepping({
  steps: [email, close, optional, union, valibot, SendSms, Plain, shipHere, bank, ping, audit],
  tm,
  use: [
    provide(Mailer, () => ({ send: async () => ({ accepted: true }), verify: async () => {} })),
    provide(Sms, () => new Twilio()),
    process.env.TENANTS !== undefined && typeormDb({ name: 'tenants', resolve: async () => dataSource }),
    [typeormDb({ dataSource }), null, undefined],
  ],
  logger: console,
  container: undefined,
});
export const anyApp = (app: Stepping): Promise<unknown> => app.createJob().addStep(close).start();
anyApp(stepping);
export const wider: Stepping = stepping;
export const options = { steps: [close], tm } satisfies SteppingOptions;

// Jobs
const job = stepping.createJob({ gid: undefined, tenant: maybe });
job.addStep(close).addStep(optional).addStep(optional, { q: 1 }).addStep(union, { b: 1 }).addStep(valibot, {});
job.addStep(email, { orderId: '1', at: '2026' }).addStep(SendSms, { to: '1' }).addStep(Plain).addStep(ship, { to: '1' });
job.addStep(shipHere, { to: '1' }).addStep(bank, { amount: 1 }).addStep(ping).addStep(audit, { who: 'me' });
export const args: Input<typeof SmsArgs> = { to: stepName(SendSms) };
export const deps: DepsOf<{ mailer: typeof Mailer }> = { mailer: { send: async () => ({ accepted: true }), verify: async () => {} } };
stepping.createJob({ transaction: typeormTransaction(queryRunner, { tenant: 'a', db: 'b' }) }).prepare();
stepping.createJob({ transaction: typeormTransaction(manager) }).submit();
inTransaction(stepping, dataSource, async ({ manager, queryRunner, job }) => {
  job.addStep(close);
  return [manager, queryRunner, job.stepCount];
});
inTransaction(stepping, { dataSource, gid: maybe, isolationLevel: 'SERIALIZABLE' }, async ({ job }) => job.gid);

// Operations and events
stepping.jobs.list({ step: 'removed.in.last.release' });
stepping.jobs.list({ step: email, status: ['failed', 'cancelled'], tenant: maybe });
stepping.on('step.failed', async (e) => {
  if (e.step === 'order.close') await Promise.resolve();
  if (SteppingError.is(e.error, 'STEP_PERMANENT')) throw permanent(e.error.code);
});
type Names = typeof stepping extends Stepping<infer N> ? N : never;
export const names: Names[] = ['order.send-email', 'order.close', 'bank.out', 'audit', 'ship'];

// Tests of steps
runStep(close);
runStep(close, { attempt: 2 });
runStep(optional);
runStep(email, {
  args: { orderId: '1', at: '2026-01-01T00:00:00Z' },
  deps: { mailer: { send: async () => ({ accepted: true }) }, sms: {} },
});
runStep(SendSms, { args: { to: '5' }, deps: [{ send: async () => {} }, {}] });
runStep(new SendSms({} as Sms, {} as Mailer), { args: { to: '5' } });
runStep(new Plain());
runStep(bank, { args: { amount: 1 }, deps: { mailer: {} }, signal: AbortSignal.timeout(1), startedJobs: [] });
