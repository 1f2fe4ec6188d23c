import {
  type AnyStep,
  createStepping,
  type DbProvider,
  DbProviders,
  type DbRef,
  Events,
  type InDoubtAnswer,
  Log,
  type Logger,
  type StepLedger,
  type Stepping,
  type SteppingEvents,
  type SteppingOptions,
  Steps,
  type TmPlugin,
  TransactionManager,
  token,
} from '@stepping/core';
import { CallbackEndpoint, type CallbackEndpointDeps } from '../../src/callback-endpoint.js';
import { ProcessLedger } from '../../src/process-ledger.js';
import { Signatures } from '../../src/signatures.js';
import type { Question, StepMessage } from '../../src/step-message.js';
import { questionCallback, SECRET, stepCallback, toRequest } from './callbacks.js';

export const LEDGER_REF: DbRef = { provider: 'a-database', name: 'default' };

/** A business database whose answers the test gives, with a ledger. */
export class ADatabase implements DbProvider {
  readonly provider = LEDGER_REF.provider;
  readonly name = LEDGER_REF.name;
  ledger: StepLedger | undefined = new ProcessLedger();
  answer: () => Promise<InDoubtAnswer> = async () => 'unknown';
  questions = 0;

  resolveInDoubt(): Promise<InDoubtAnswer> {
    this.questions++;
    return this.answer();
  }
  async hasCommitted(): Promise<boolean> {
    return false;
  }
  async purgeBarriers(): Promise<void> {}
  async migrate(): Promise<void> {}
}

export interface TestEndpoint {
  readonly stepping: Stepping;
  readonly database: ADatabase;
  /** What was told, as `event`, in order. */
  readonly told: (keyof SteppingEvents)[];
  readonly events: { readonly name: keyof SteppingEvents; readonly payload: any }[];
  readonly log: { level: string; message: string; fields: object }[];
  /** Wire gids that the server was asked to stop. */
  readonly stopped: string[];
  /** The status that a callback of this step is answered. */
  step(message: StepMessage): Promise<number>;
  question(question: Partial<Question>): Promise<number>;
}

const EVENTS = [
  'job.submitted',
  'job.succeeded',
  'job.rolled-back',
  'job.prepared-too-long',
  'job.failed',
  'job.lease-lost',
  'step.started',
  'step.succeeded',
  'step.failed',
  'step.unrunnable',
] as const;

const apps: Stepping[] = [];

export async function stopApps(): Promise<void> {
  await Promise.all(apps.splice(0).map((app) => app.stop({ drainTimeoutMs: 100 })));
}

/** A started app whose transaction manager is the endpoint and nothing else: messages come from the test instead of a server. */
export async function anEndpoint(
  options: {
    steps?: readonly AnyStep[];
    use?: SteppingOptions['use'];
    secrets?: readonly string[];
  } & Partial<Pick<CallbackEndpointDeps, 'leaseMs' | 'retryIntervalMs' | 'requestTimeoutMs' | 'server'>> = {},
): Promise<TestEndpoint> {
  const { steps = [], use, secrets = [SECRET], leaseMs = 10_000, retryIntervalMs = 10_000, requestTimeoutMs = 5_000 } = options;
  const database = new ADatabase();
  const stopped: string[] = [];
  const server: CallbackEndpointDeps['server'] = options.server ?? {
    async forceStop(wireGid) {
      if (stopped.includes(wireGid)) return 'refused';
      stopped.push(wireGid);
      return 'done';
    },
  };
  const log: TestEndpoint['log'] = [];
  const stepping = createStepping({
    steps,
    logger: recordInto(log),
    tm: endpointTm((r) => ({
      server,
      signatures: new Signatures(secrets),
      steps: r.resolve(Steps),
      databases: r.resolve(DbProviders),
      events: r.resolve(Events),
      log: r.resolve(Log),
      retryIntervalMs,
      requestTimeoutMs,
      leaseMs,
    })),
    use: [{ name: 'a-database', start: (r) => r.resolve(DbProviders).add(database) }, use],
  }) as Stepping;
  const told: TestEndpoint['told'] = [];
  const events: { name: keyof SteppingEvents; payload: unknown }[] = [];
  for (const name of EVENTS) {
    stepping.on(name, (payload) => {
      told.push(name);
      events.push({ name, payload });
    });
  }
  apps.push(stepping);
  await stepping.start();
  const statusOf = async (request: Request) => {
    const response = await stepping.handle(request);
    expect(response.body).toBeNull();
    return response.status;
  };
  return {
    stepping,
    database,
    told,
    events,
    log,
    stopped,
    step: (message) => statusOf(toRequest(stepCallback({ ledger: LEDGER_REF, ...message }))),
    question: (question) => statusOf(toRequest(questionCallback(question))),
  };
}

function endpointTm(deps: (r: Parameters<NonNullable<TmPlugin['start']>>[0]) => CallbackEndpointDeps): TmPlugin {
  const Endpoint = token<CallbackEndpoint>('CallbackEndpoint');
  const notHere = async (): Promise<never> => {
    throw new Error('this app only takes callbacks');
  };
  return {
    name: 'endpoint',
    provides: 'tm',
    register(registry) {
      registry.provide(Endpoint, (r) => new CallbackEndpoint(deps(r)));
      registry.provide(TransactionManager, (r) => ({
        start: notHere,
        prepare: notHere,
        submit: notHere,
        abort: notHere,
        find: notHere,
        handle: (request) => r.resolve(Endpoint).handle(request),
      }));
    },
    quiesce: (r) => r.resolve(Endpoint).quiesce(),
    stop: (r, { drainTimeoutMs }) => r.resolve(Endpoint).stop(drainTimeoutMs ?? 10_000),
  };
}

function recordInto(log: { level: string; message: string; fields: object }[]): Logger {
  const write =
    (level: string) =>
    (message: string, fields: object = {}) =>
      void log.push({ level, message, fields });
  return { trace: write('trace'), debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') };
}

/** Waits until the condition holds; the test's own timeout ends a wait in vain. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 5));
}
