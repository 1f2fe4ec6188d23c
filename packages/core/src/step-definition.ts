import { checkMs, checkName, checkRetry, refuse } from './check-options.js';
import type { Injectable } from './injection.js';
import type { Schema } from './schema.js';
import { type AnyStep, classStepOf, type RetryPolicy, type Step, type StepClass } from './step.js';
import { SteppingError } from './stepping-error.js';

/** Every form of step, as the engine reads it. */
export interface StepDefinition {
  readonly name: string;
  readonly aliases: readonly string[];
  readonly queue: string;
  readonly schema: Schema | undefined;
  readonly retry: RetryPolicy | undefined;
  readonly timeoutMs: number;
  /** Undefined: a contract, run elsewhere. */
  readonly implementation: FunctionStep | ClassStep | undefined;
}

interface FunctionStep {
  readonly run: (context: unknown) => unknown;
  readonly inject: Readonly<Record<string, Injectable>>;
}

interface ClassStep {
  readonly type: StepClass;
  /** Undefined: by the constructor's types. */
  readonly inject: readonly Injectable[] | undefined;
}

export const DEFAULT_QUEUE = 'default';
const DEFAULT_TIMEOUT_MS = 300_000;

const known = new WeakMap<object, StepDefinition>();

/**
 * Reads a step, checking it the first time.
 *
 * @throws {@link SteppingError} `STEP_UNKNOWN` if it is no step at all, `CONFIG_INVALID` if one of its options is wrong.
 */
export function definitionOf(step: AnyStep): StepDefinition {
  const found = known.get(step); // undefined for what is no object
  if (found) return found;
  const definition = read(step);
  known.set(step, definition);
  return definition;
}

function read(step: AnyStep): StepDefinition {
  const ofClass = classStepOf(step);
  const options = ofClass ?? (step as Step | undefined);
  if (!ofClass && (typeof step !== 'object' || step?.kind !== 'stepping.step')) throw notAStep(step);
  checkOptions(options as Step);
  const { name, aliases = [], queue = DEFAULT_QUEUE, args, retry, timeoutMs = DEFAULT_TIMEOUT_MS } = options as Step;
  const implementation = ofClass
    ? { type: step as StepClass, inject: ofClass.inject }
    : 'run' in step
      ? { run: (step as Step).run, inject: (step as Step).inject ?? {} }
      : undefined;
  return { name, aliases, queue, schema: args, retry, timeoutMs, implementation };
}

function checkOptions({ name, aliases, queue, args, retry, timeoutMs, ...rest }: Step): void {
  checkName('The name of a step', name);
  for (const alias of aliases ?? []) checkName(`An alias of step ${name}`, alias);
  if (queue !== undefined) checkName(`The queue of step ${name}`, queue);
  if (queue?.startsWith('~')) refuse(`The queue of step ${name}`, queue, 'a name that does not begin with ~ (such queues are our own)');
  if (args !== undefined && typeof args?.['~standard']?.validate !== 'function') {
    refuse(`args of step ${name}`, args, 'a Standard Schema (zod, valibot, ArkType, …) or unchecked<T>()');
  }
  checkRetry(`retry of step ${name}`, retry);
  if (timeoutMs !== undefined) checkMs(`timeoutMs of step ${name}`, timeoutMs, { min: 1 });
  if ('run' in rest && typeof rest.run !== 'function') refuse(`run of step ${name}`, rest.run, 'a function');
}

function notAStep(value: unknown): SteppingError<'STEP_UNKNOWN'> {
  if (value === undefined || value === null) {
    return new SteppingError(
      'STEP_UNKNOWN',
      `A step is ${value}: most often two modules import each other. Import the step from a module that does not import this one.`,
    );
  }
  if (typeof value === 'function') {
    return new SteppingError(
      'STEP_UNKNOWN',
      `${value.name || 'A function'} is not a step: decorate the class with @step({ name }), or make a step of the function by defineStep({ name, run }).`,
    );
  }
  if (typeof value === 'object' && classStepOf(value.constructor)) {
    return new SteppingError(
      'STEP_UNKNOWN',
      `An instance of ${value.constructor.name} is not a step, its class is: addStep(${value.constructor.name}, args).`,
    );
  }
  return new SteppingError(
    'STEP_UNKNOWN',
    `${JSON.stringify(value) ?? String(value)} is not a step. Pass what defineStep(…) returned, or a class with @step.`,
  );
}
