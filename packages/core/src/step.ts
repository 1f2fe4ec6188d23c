import type { DepsOf, Injectable } from './injection.js';
import type { Job, JobOptions } from './job.js';
import type { JsonSafe } from './json.js';
import type { Logger } from './logger.js';
import type { Input, NoArgs, Output, Schema } from './schema.js';

/** How often and how fast a step is tried again. */
export interface RetryPolicy {
  /** Attempts in all; after the last one the job is `failed`. Default: unlimited, because a dead letter that nobody reads is a lost job. */
  maxAttempts?: number | undefined;
  /** Wait after the first failed attempt; doubles with each further one, with up to 10 % jitter. Default 1 000. Unit: ms. */
  minDelayMs?: number | undefined;
  /** Longest wait. Default 3 600 000 (1 h). Unit: ms. */
  maxDelayMs?: number | undefined;
}

/** What every form of step can say of itself. */
export interface StepOptions<N extends string> {
  /** Data at rest: stored in every job, unique in the app. Never change it; give the old one as alias instead. */
  name: N;
  /** Earlier names, so that jobs stored under them still run. */
  aliases?: readonly string[] | undefined;
  /** Which processors may run it: those that serve this queue. Default `'default'`. */
  queue?: string | undefined;
  retry?: RetryPolicy | undefined;
  /** When the attempt's `signal` is aborted and the attempt counts as failed. Default 300 000. Unit: ms. */
  timeoutMs?: number | undefined;
}

// Type-only members have string keys, as in Standard Schema: a unique symbol would lose the types where two copies of this package meet.
/** What a caller needs to add a step: a name and the type of its args. A {@link Step} is a contract that also has an implementation. */
export interface StepContract<Name extends string = string, Args = any> {
  /** Without it every class and function would pass for a step: they have a `name`, too. */
  readonly kind: 'stepping.step';
  readonly name: Name;
  readonly queue?: string | undefined;
  readonly '~types'?: { args: Args };
}

/** A step that this process can run. Made by {@link defineStep}, `httpStep` or {@link implementStep}. */
export interface Step<Name extends string = string, Args = any, Deps = any> extends StepContract<Name, Args> {
  readonly aliases: readonly string[];
  readonly retry?: RetryPolicy | undefined;
  readonly timeoutMs?: number | undefined;
  readonly args?: Schema | undefined;
  readonly inject?: Readonly<Record<string, Injectable>> | undefined;
  readonly run: (context: any) => any;
  readonly '~types'?: { args: Args; deps: Deps };
}

/** A class with a `run`, decorated with {@link step}. */
export type StepClass = abstract new (...args: any[]) => { run(context: any): any };

/** Anything that `steps: […]` and `addStep` take. */
export type AnyStep = StepContract | StepClass;

/** What `run` of a step receives. */
export interface RunContext<Args, Deps, In = Args> {
  /** The stored args, parsed by the step's schema before every attempt. */
  readonly args: Args;
  readonly deps: Deps;
  readonly gid: string;
  readonly tenant: string | undefined;
  /** The same on every attempt of this step of this job, and of no other: `gid + '/' + position`. Hand it to whoever must not do it twice. */
  readonly idempotencyKey: string;
  /** Number of this attempt, from 1. */
  readonly attempt: number;
  /** Aborted at the timeout, at `stop()`, at a cancel, and when the lease is lost. Hand it on to whatever can be interrupted. */
  readonly signal: AbortSignal;
  /** Its entries say which job and step. */
  readonly logger: Required<Logger>;
  /** A job started from a step. Its gid derives from `idempotencyKey`, so a repeated attempt starts nothing twice. */
  readonly createJob: (options?: JobOptions) => Job;
  readonly '~args'?: In;
}

type ArgsOutput<A> = A extends Schema<any, infer O> ? O : A;
type ArgsInput<A> = A extends Schema<infer I, any> ? I : A;

/** The context of a class step or of a `run` written apart: `A` is `typeof schema` or a plain type. */
export type StepContext<A = void, Deps = {}> = RunContext<ArgsOutput<A>, Deps, ArgsInput<A>>;

/** What a class step implements. `run` is a property, not a method: methods are compared loosely. */
export interface StepHandler<A extends Schema = NoArgs> {
  readonly run: (context: StepContext<A>) => unknown;
}

/** The args that `addStep` wants for a step. */
export type ArgsOf<S> =
  S extends StepContract<any, infer A>
    ? A
    : S extends abstract new (
          ...args: any[]
        ) => { run(context: infer C): any }
      ? C extends { readonly '~args'?: infer A }
        ? A
        : void
      : never;

/** [] when the step takes no args, [args?] when they may be left out, [args] else. */
export type AddArgs<S> = 0 extends 1 & ArgsOf<S>
  ? [args?: any]
  : [ArgsOf<S>] extends [void]
    ? []
    : undefined extends ArgsOf<S>
      ? [args?: ArgsOf<S>]
      : [args: ArgsOf<S>];

/** The literal name of a step; `never` for one whose name is only known as `string`. */
export type NameOf<S> = S extends StepContract<infer N, any> ? (string extends N ? never : N) : never;

/** Completes registered names and accepts any other: stored jobs may name steps of an older release. */
export type Known<N extends string> = N | (string & {});

/**
 * Makes a step: a named piece of work that is retried until it succeeds. It may run more than once, so make it idempotent.
 *
 * @example
 * export const sendOrderEmail = defineStep({
 *   name: 'order.send-email',
 *   args: z.object({ orderId: z.uuid() }),
 *   inject: { mailer: Mailer },
 *   async run({ args, deps }) { await deps.mailer.sendConfirmation(args.orderId); },
 * });
 */
export function defineStep<const N extends string, A extends Schema = NoArgs, I extends Record<string, Injectable> = {}>(
  definition: StepOptions<N> & {
    args?: A & JsonSafe<A>;
    inject?: I;
    run: (context: RunContext<Output<A>, DepsOf<I>, Input<A>>) => unknown;
  },
): Step<N, Input<A>, DepsOf<I>> {
  return { kind: 'stepping.step', aliases: [], ...definition } as unknown as Step<N, Input<A>, DepsOf<I>>;
}

/** A contract between services: the caller adds it to jobs without importing the code that runs it. */
export function declareStep<const N extends string, A extends Schema = NoArgs>(contract: {
  name: N;
  queue?: string | undefined;
  args?: A & JsonSafe<A>;
}): StepContract<N, Input<A>> & { readonly args: A } {
  return { kind: 'stepping.step', ...contract } as unknown as StepContract<N, Input<A>> & { readonly args: A };
}

/** The implementation of a declared step; its name, queue and args are those of the contract. */
export function implementStep<N extends string, A extends Schema, I extends Record<string, Injectable> = {}>(
  contract: StepContract<N, any> & { readonly args: A },
  implementation: Omit<StepOptions<N>, 'name' | 'queue'> & {
    inject?: I;
    run: (context: RunContext<Output<A>, DepsOf<I>, Input<A>>) => unknown;
  },
): Step<N, Input<A>, DepsOf<I>> {
  return { aliases: [], ...contract, ...implementation } as unknown as Step<N, Input<A>, DepsOf<I>>;
}

// A registered symbol: a class decorated through a second copy of this package is still a step.
const classStep = Symbol.for('stepping.step');

interface ClassStepDefinition extends StepOptions<string> {
  args?: Schema;
  inject?: readonly Injectable[];
}

/**
 * Makes a class a step: as a decorator (both kinds) or as a plain call, `step({ … })(SendSms)`. `inject` lists what the constructor takes.
 */
export function step<const N extends string, A extends Schema = NoArgs>(
  options: StepOptions<N> & { args?: A & JsonSafe<A>; inject?: undefined },
): (target: abstract new (...deps: any[]) => StepHandler<NoInfer<A>>, context?: ClassDecoratorContext) => void;
export function step<const N extends string, const I extends readonly Injectable[], A extends Schema = NoArgs>(
  options: StepOptions<N> & { args?: A & JsonSafe<A>; inject: I },
): (
  target: abstract new (...deps: DepsOf<NoInfer<I>> extends infer D extends any[] ? D : never) => StepHandler<NoInfer<A>>,
  context?: ClassDecoratorContext,
) => void;
export function step(options: any): (target: any, context?: ClassDecoratorContext) => void {
  return (target) => {
    Object.defineProperty(target, classStep, { value: options });
  };
}

/** The options that {@link step} gave to a class; undefined for anything else. A subclass is a step of its own or none. */
export function classStepOf(candidate: unknown): ClassStepDefinition | undefined {
  if (typeof candidate !== 'function' || !Object.hasOwn(candidate, classStep)) return undefined;
  return (candidate as unknown as Record<symbol, ClassStepDefinition>)[classStep];
}

/** The stored name of a step in either form; `SendSms.name` is JavaScript's class name, not this. */
export function stepName(anyStep: AnyStep): string {
  return classStepOf(anyStep)?.name ?? (anyStep as StepContract).name;
}
