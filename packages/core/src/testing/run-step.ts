import { gidFrom, idempotencyKey } from '../gid.js';
import type { Job, JobOptions, StartedJob } from '../job.js';
import { alreadyStarted, JobDraft } from '../job-draft.js';
import { argsToJson } from '../json.js';
import { completeLogger, type Logger, silentLogger } from '../logger.js';
import { parseArgs, type Schema } from '../schema.js';
import { type AnyStep, type ArgsOf, classStepOf, type RunContext, type Step, type StepClass } from '../step.js';
import { rememberScope } from '../step-scope.js';
import type { Claim } from '../steps.js';

/** A step to be run in a test: made by `defineStep`, `httpStep` or `implementStep`, a class step, or an instance of one. */
export type StepUnderTest = Step | StepClass | StepInstance;
type StepInstance = { readonly run: (context: any) => any };

/** What a test gives to {@link runStep}: `args` and `deps` where the step has any, and what of the context matters to it. */
export type StepTestContext<S> = GivenContext & GivenArgs<ArgsUnderTest<S>> & GivenDeps<DepsUnderTest<S>>;

interface GivenContext {
  /** Default `'test-job'`. */
  gid?: string | undefined;
  /** Default: none. */
  tenant?: string | undefined;
  /** Default: that of the first step of `gid`. */
  idempotencyKey?: string | undefined;
  /** Default 1. */
  attempt?: number | undefined;
  /** Default: one that is never aborted. */
  signal?: AbortSignal | undefined;
  /** Default: silent. */
  logger?: Logger | undefined;
  /** Jobs that the step starts are written down here, in order; nothing runs. */
  startedJobs?: StartedTestJob[] | undefined;
}

/** A job that a step under test has started. */
export interface StartedTestJob {
  gid: string;
  tenant: string | undefined;
  steps: { name: string; args: unknown }[];
}

type GivenArgs<A> = 0 extends 1 & A
  ? { args?: any }
  : [A] extends [void]
    ? { args?: undefined }
    : undefined extends A
      ? { args?: A }
      : { args: A };
type GivenDeps<D> = 0 extends 1 & D ? { deps?: any } : D extends None ? { deps?: D | undefined } : { deps: Fakes<D> };
type None = Record<string, never> | readonly [];

type Fakes<D> = { [K in keyof D]: Fake<D[K]> };
// `Pick` leaves private members out: a fake of a class could not have them.
type Fake<T> = T extends (...args: any[]) => any ? T : T extends object ? Partial<Pick<T, keyof T>> : T;

type ArgsUnderTest<S> = S extends AnyStep ? ArgsOf<S> : S extends { run(context: infer C): any } ? ArgsOfContext<C> : never;
type ArgsOfContext<C> = C extends { readonly '~args'?: infer A } ? A : void;
type DepsUnderTest<S> = S extends { readonly kind: 'stepping.step' }
  ? S extends Step<any, any, infer D>
    ? keyof D extends never
      ? None
      : D
    : never
  : S extends abstract new (
        ...deps: infer D
      ) => any
    ? D
    : None;

/**
 * Runs a step once, without an app, a store or a container. `args` take the way they take in a job, through JSON and the step's schema. `deps` are fakes:
 * for a step of `defineStep` an object, for a class the list of what its constructor takes, for an instance none; of each only what the step uses,
 * private members never. Resolves to what `run` returned, and rejects with what it threw.
 *
 * @throws {@link SteppingError} `ARGS_NOT_JSON`, `ARGS_INVALID`
 * @example
 * const sent: string[] = [];
 * await runStep(sendOrderEmail, { args: { orderId }, deps: { mailer: { send: async (to) => void sent.push(to) } } });
 */
export async function runStep<S extends StepUnderTest>(
  step: S,
  ...[given]: {} extends StepTestContext<S> ? [given?: StepTestContext<S>] : [given: StepTestContext<S>]
): Promise<unknown> {
  const { args, deps, gid = 'test-job', tenant, attempt = 1, signal, logger, startedJobs = [], ...rest }: Given = given ?? {};
  const { name, schema, run } = opened(step, deps);
  const key = rest.idempotencyKey ?? idempotencyKey(gid, 0);
  let children = 0;
  const context: RunContext<unknown, unknown> = {
    args: await parseArgs(schema, parsed(argsToJson(args, name)), `step ${name}`),
    deps: deps ?? {},
    gid,
    tenant,
    idempotencyKey: key,
    attempt,
    signal: signal ?? new AbortController().signal,
    logger: logger ? completeLogger(logger) : silentLogger,
    createJob: (options = {}) => {
      const derived = gidFrom('child', key, String(children++)); // as in an app, so that a test can name it
      return new TestJob({ gid: options.gid ?? derived, tenant: options.tenant ?? tenant }, startedJobs);
    },
  };
  return run(rememberScope(context, { claim: testClaim, databases: undefined }));
}

/** Nobody takes a step over from its test. */
const testClaim: Claim = { instance: 'test', isOld: () => false, isStillOurs: async () => true, uses() {} };

type Given = GivenContext & { args?: unknown; deps?: any };

interface OpenedStep {
  readonly name: string;
  readonly schema: Schema | undefined;
  readonly run: (context: RunContext<unknown, unknown>) => unknown;
}

function opened(step: StepUnderTest, deps: any): OpenedStep {
  if (typeof step === 'function') {
    const Class = step as unknown as new (...deps: unknown[]) => StepInstance;
    return opened(new Class(...(deps ?? [])), undefined);
  }
  if ('kind' in step) return { name: step.name, schema: step.args, run: (context) => step.run(context) };
  const definition = classStepOf(step.constructor);
  return { name: definition?.name ?? step.constructor.name, schema: definition?.args, run: (context) => step.run(context) };
}

/** Checked as in an app when put together and started, then only written down. */
class TestJob extends JobDraft implements Job {
  readonly #startedJobs: StartedTestJob[];
  #started = false;

  constructor(options: JobOptions, startedJobs: StartedTestJob[]) {
    super(options, { maxArgsBytes: Number.POSITIVE_INFINITY, isListed: () => true });
    this.#startedJobs = startedJobs;
  }

  async start(): Promise<StartedJob> {
    const { gid, tenant } = this;
    if (this.#started) throw alreadyStarted(gid, 'Each job is started once; make another by createJob().');
    this.#started = true;
    const { steps } = await this.seal();
    this.#startedJobs.push({ gid, tenant, steps: steps.map(({ name, args }) => ({ name, args: parsed(args) })) });
    return { gid, status: 'submitted', duplicate: false };
  }
}

function parsed(json: string | undefined): unknown {
  return json === undefined ? undefined : JSON.parse(json);
}
