// Programs that must not compile. The line above each one says its name, the error code and a phrase that the user must read.
import {
  createStepping,
  declareStep,
  defineStep,
  implementStep,
  provide,
  type StepContext,
  type Stepping,
  SteppingError,
  step,
  token,
  unchecked,
} from '@stepping/core';
import { httpStep } from '@stepping/core/http';
import { runStep } from '@stepping/core/testing';
import { inTransaction, typeormDb } from '@stepping/db-typeorm';
import { localTm, memoryStore } from '@stepping/tm-local';
import { hostedProcessor } from '@stepping/tm-local-hosted-processor';
import { typeormStore } from '@stepping/tm-local-typeorm';
import type { DataSource, QueryRunner } from 'typeorm';
import * as v from 'valibot';
import { z } from 'zod';

interface Mailer {
  send(to: string): Promise<void>;
}
const Mailer = token<Mailer>('Mailer');
abstract class Sms {
  private n = 0;
  abstract send(to: string): Promise<void>;
  get count() {
    return this.n;
  }
}
declare const dataSource: DataSource;
declare const queryRunner: QueryRunner;
const Email = z.object({ orderId: z.string(), at: z.iso.datetime().transform((s) => new Date(s)) });
const email = defineStep({
  name: 'order.send-email',
  args: Email,
  inject: { mailer: Mailer },
  async run({ args, deps }) {
    await deps.mailer.send(args.at.toISOString());
  },
});
const close = defineStep({ name: 'order.close', run() {} });
const SmsArgs = z.object({ to: z.string() });
@step({ name: 'order.sms', args: SmsArgs, inject: [Sms] })
class SendSms {
  readonly sms: Sms;
  constructor(sms: Sms) {
    this.sms = sms;
  }
  async run({ args }: StepContext<typeof SmsArgs>) {
    await this.sms.send(args.to);
  }
}
const tm = localTm({ store: memoryStore() });
const stepping = createStepping({ steps: [email, close, SendSms], tm });
const job = stepping.createJob();

// ── addStep ──
// W01 args missing: TS2554 `Expected 2 arguments, but got 1.`
job.addStep(email);
// W02 args for a step without args: TS2554 `Expected 1 arguments, but got 2.`
job.addStep(close, { orderId: '1' });
// W03 output type where input is due: TS2322 `Type 'Date' is not assignable to type 'string'.`
job.addStep(email, { orderId: '1', at: new Date() });
// W04 unknown key: TS2561 `Did you mean to write 'orderId'?`
job.addStep(email, { orderId: '1', at: '2026', orderID: '2' });
// W05 args of a class step: TS2322 `Type 'number' is not assignable to type 'string'.`
job.addStep(SendSms, { to: 5 });
// W06 a class that is no step: TS2345 `Property 'run' is missing in type 'Date'`
job.addStep(Date);
// W07 a name is not a step: TS2345 `'string' is not assignable to parameter of type 'AnyStep'`
job.addStep('order.close');
// W08 an instance, the habit from Stepping.NET: TS2345 `'SendSms' is not assignable to parameter of type 'AnyStep'`
job.addStep(new SendSms({} as Sms), { to: '1' });
// W57 anything with a name is not a step: TS2345 `Property 'kind' is missing`
job.addStep({ name: 'order.close' });
// ── defineStep ──
// W09 no name: TS2345 `Property 'name' is missing`
defineStep({ run() {} });
// W10 no run: TS2345 `Property 'run' is missing`
defineStep({ name: 'x' });
// W11 the word of another library: TS2353 `'attempts' does not exist in type 'RetryPolicy'`
defineStep({ name: 'x', retry: { attempts: 3 }, run() {} });
// W12 unit forgotten: TS2561 `Did you mean to write 'timeoutMs'?`
defineStep({ name: 'x', timeout: 10, run() {} });
// W13 a string is no typed token: TS2322 `Type 'string' is not assignable to type 'Injectable`
defineStep({ name: 'x', inject: { mailer: 'Mailer' }, run() {} });
// W14 dependency not asked for: TS2339 `Property 'sms' does not exist`
defineStep({ name: 'x', inject: { mailer: Mailer }, run: ({ deps }) => deps.sms });
// W15 Date does not survive JSON: TS2375 `{ 'stored as JSON, but this is not JSON': "when.at"; }`
defineStep({ name: 'x', args: z.object({ id: z.string(), when: z.object({ at: z.date() }) }), run() {} });
// W16 neither does bigint, of another schema library: TS2322 `{ 'stored as JSON, but this is not JSON': "amount"; }`
defineStep({ name: 'x', args: v.object({ amount: v.bigint() }), run() {} });
// W17 nor a Set of a plain type: TS2322 `{ 'stored as JSON, but this is not JSON': "seen"; }`
defineStep({ name: 'x', args: unchecked<{ seen: Set<string> }>(), run() {} });
// W20 plain generics, where args come from unchecked<T>(): TS2344 `does not satisfy the constraint 'string'`
defineStep<{ id: string }>({ name: 'x', run() {} });
// W21 annotated context without args: TS2322 `Type 'void' is not assignable to type '{ id: string; }'`
defineStep({ name: 'x', run: ({ args }: StepContext<{ id: string }>) => args.id });
// W60 an implementation does not rename its contract: TS2353 `'name' does not exist`
implementStep(declareStep({ name: 'x', args: SmsArgs }), { name: 'y', run() {} });
// W61 nor take other args: TS2322 `Type 'string' is not assignable to type 'number'`
implementStep(declareStep({ name: 'x', args: SmsArgs }), { run: ({ args }: StepContext<{ to: number }>) => args.to });
// ── httpStep ──
// W24 method in lower case: TS2820 `Did you mean '"POST"'?`
httpStep({ name: 'x', request: () => ({ method: 'post', url: 'http://x' }) });
// W25 axios's word: TS2322 `Type '{}' is not assignable to type`
httpStep({ name: 'x', request: () => ({ url: 'http://x', data: {} }) });
// W26 annotated args without args: TS2322 `Type 'void' is not assignable to type '{ id: string; }'`
httpStep({ name: 'x', request: (args: { id: string }) => ({ url: 'http://x', json: args }) });
// ── @step ──
// W27 execute, the word of Stepping.NET and Nest: TS1238 `Property 'run' is missing in type 'Executes'`
@step({ name: 'x' })
class Executes {
  async execute() {}
}
// W28 schema and run disagree: TS1238 `Type 'string' is not assignable to type 'number'`
@step({ name: 'x', args: SmsArgs })
class Disagrees {
  async run(_: StepContext<{ to: number }>) {}
}
// W29 args in run, none in @step: TS1238 `Type 'void' is not assignable to type '{ to: string; }'`
@step({ name: 'x' })
class NoSchema {
  async run(_: StepContext<{ to: string }>) {}
}
// W30 inject does not fit the constructor: TS1238 `Type 'Mailer' is missing the following properties from type 'Sms'`
@step({ name: 'x', inject: [Mailer] })
class WrongDep {
  readonly sms: Sms;
  constructor(sms: Sms) {
    this.sms = sms;
  }
  run() {}
}
// W31 inject too short: TS1238 `Source has 0 element(s) but target requires 1`
@step({ name: 'x', inject: [] })
class NoDep {
  readonly sms: Sms;
  constructor(sms: Sms) {
    this.sms = sms;
  }
  run() {}
}
// ── composition ──
void [Executes, Disagrees, NoSchema, WrongDep, NoDep];
// W32 no transaction manager: TS2741 `Property 'tm' is missing`
createStepping({ steps: [close] });
// W33 no store: TS2741 `Property 'store' is missing`
createStepping({ steps: [close], tm: localTm({}) });
// W34 a store is no transaction manager: TS2375 `Type '"store"' is not assignable to type '"tm"'`
createStepping({ steps: [close], tm: typeormStore({ dataSource }) });
// W35 a processor is no store: TS2375 `Type '"processor"' is not assignable to type '"store"'`
localTm({ store: hostedProcessor() });
// W37 wrong service: TS2741 `Property 'send' is missing in type '{ post(): void; }'`
provide(Mailer, () => ({ post() {} }));
// W38 the value instead of a factory: TS2353 `'send' does not exist in type '(r: Resolver) => NoInfer<Mailer>'`
provide(Mailer, { async send() {} });
// W39 a promise of the service: TS2741 `Property 'send' is missing in type 'Promise<`
provide(Mailer, async () => ({ async send() {} }));
// W40 databases by tenant without a name: TS2345 `Property 'name' is missing`
typeormDb({ resolve: () => dataSource });
// W41 a schema is no step: TS2322 `is not assignable to type 'AnyStep'`
createStepping({ steps: [Email], tm });
// ── jobs ──
// W42 prepare without a transaction: TS2339 `Property 'prepare' does not exist on type 'Job'`
job.prepare();
// W43 starting inside inTransaction would commit early: TS2339 `Property 'start' does not exist on type 'JobBuilder'`
inTransaction(stepping, dataSource, async ({ job }) => void (await job.addStep(close).start()));
// W46 a query runner is no transaction: TS2740 `Type 'QueryRunner' is missing the following properties from type 'DbTransaction'`
stepping.createJob({ transaction: queryRunner });
// W47 misspelt option: TS2561 `Did you mean to write 'tenant'?`
stepping.createJob({ tennant: 'acme' });
// W48 callback is not async: TS2322 `Type 'number' is not assignable to type 'Promise<unknown>'`
inTransaction(stepping, dataSource, () => 5);
// ── operations and events ──
// W49 unknown status: TS2322 `Type '"running"' is not assignable to type`
stepping.jobs.list({ status: 'running' });
// W50 unknown event: TS2345 `Argument of type '"step.fail"' is not assignable`
stepping.on('step.fail', () => {});
// W51 purge everything: TS2741 `Property 'finishedBefore' is missing`
stepping.jobs.purge({});
// W52 field of another event: TS2339 `Property 'error' does not exist`
stepping.on('job.submitted', (e) => e.error);
// W56 names of steps are literals: TS2345 `"order.close" | "order.send-email"`
(null as unknown as (name: typeof stepping extends Stepping<infer N> ? N : never) => void)('order.clsoe');
// W59 error code that does not exist: TS2345 `Argument of type '"DUPLICATE"' is not assignable to parameter of type 'SteppingErrorCode`
SteppingError.is(0, 'DUPLICATE');
// ── tests ──
// W53 missing dep: TS2345 `Property 'deps' is missing`
runStep(email, { args: { orderId: '1', at: '2026-01-01T00:00:00Z' } });
// W54 wrong fake: TS2322 `Type 'number' is not assignable to type '(to: string) => Promise<void>'`
runStep(email, { args: { orderId: '1', at: '2026-01-01T00:00:00Z' }, deps: { mailer: { send: 5 } } });
// W55 output where input is due: TS2322 `Type 'Date' is not assignable to type 'string'`
runStep(email, { args: { orderId: '1', at: new Date() }, deps: { mailer: {} } });
// W58 instance of a class step, wrong args: TS2322 `Type 'number' is not assignable to type 'string'`
runStep(new SendSms({} as Sms), { args: { to: 5 } });
// W62 class step, fakes that do not fit its constructor: TS2322 `Type 'number' is not assignable to type`
runStep(SendSms, { args: { to: '5' }, deps: [{ send: 5 }] });
