import { type AppOfSteps, AttemptContext } from './attempt-context.js';
import { checkRetry } from './check-options.js';
import type { Container } from './container.js';
import { describeInjectable, type Injectable } from './injection.js';
import type { Lifecycle } from './lifecycle.js';
import { type ResolvedRetryPolicy, resolveRetryPolicy } from './retry.js';
import { parseArgs } from './schema.js';
import type { AnyStep, RetryPolicy, RunContext } from './step.js';
import { definitionOf, type StepDefinition } from './step-definition.js';
import { SteppingError } from './stepping-error.js';
import type { RunnableStep, Steps } from './steps.js';

type Run = (context: RunContext<unknown, unknown>) => unknown;

/** A step that is listed in `steps: […]`. */
interface ListedStep {
  readonly definition: StepDefinition & { readonly implementation: {} };
  readonly retry: ResolvedRetryPolicy;
  /** Set by `connect`: the user's code and what it asked for. */
  run: Run | undefined;
  deps: unknown;
}

/** The steps that this process can run. */
export class StepsRegistry implements Steps {
  readonly #byName = new Map<string, ListedStep>();
  readonly #listed: readonly ListedStep[];
  readonly #lifecycle: Lifecycle;
  readonly #app: AppOfSteps;

  /** @throws {@link SteppingError} `STEP_DUPLICATE`, `STEP_UNKNOWN` (no step at all), `CONFIG_INVALID` */
  constructor(steps: readonly AnyStep[], app: AppOfSteps & { readonly retry: RetryPolicy | undefined; readonly lifecycle: Lifecycle }) {
    checkRetry('retry', app.retry);
    this.#lifecycle = app.lifecycle;
    this.#app = app;
    this.#listed = steps.map((step) => {
      const listed = list(definitionOf(step), app.retry);
      for (const name of [listed.definition.name, ...listed.definition.aliases]) this.#add(name, listed);
      return listed;
    });
  }

  has(name: string): boolean {
    return this.#byName.has(name);
  }

  queues(): readonly string[] {
    return [...new Set(this.#listed.map(({ definition }) => definition.queue))];
  }

  bounded(): readonly string[] {
    return this.#listed.filter(({ retry }) => retry.maxAttempts !== Number.POSITIVE_INFINITY).map(({ definition }) => definition.name);
  }

  /** Resolves all that the steps ask for, once. @throws {@link SteppingError} `DEPENDENCY_MISSING`, naming step and dependency. */
  connect(container: Container): void {
    for (const listed of this.#listed) connectStep(listed, container);
  }

  open(stored: { readonly name: string; readonly args: unknown }): RunnableStep | Promise<RunnableStep> {
    const { name } = stored;
    const listed = this.#byName.get(name);
    if (!listed?.run) {
      throw new SteppingError(
        'STEP_NOT_RUNNABLE',
        `This process has no step ${name}. Add it to steps: […] of createStepping; if it was renamed, give the old name as one of its aliases.`,
        { step: name },
      );
    }
    const args = parseArgs(listed.definition.schema, stored.args, `step ${name}`);
    return args instanceof Promise ? args.then((parsed) => this.#runnable(listed, name, parsed)) : this.#runnable(listed, name, args);
  }

  #runnable({ definition, retry, run, deps }: ListedStep, name: string, args: unknown): RunnableStep {
    const step = { name, args, deps };
    return {
      retry,
      timeoutMs: definition.timeoutMs,
      run: (attempt) => this.#lifecycle.runStep(() => run?.(new AttemptContext(step, attempt, this.#app))),
    };
  }

  #add(name: string, listed: ListedStep): void {
    if (this.#byName.has(name)) {
      throw new SteppingError(
        'STEP_DUPLICATE',
        `Two of steps: […] are called ${JSON.stringify(name)} (by name or alias). Stored jobs know steps by name: give each its own, and list each once.`,
        { step: name },
      );
    }
    this.#byName.set(name, listed);
  }
}

function list(definition: StepDefinition, ofApp: RetryPolicy | undefined): ListedStep {
  const { implementation, name } = definition;
  if (!implementation) {
    throw new SteppingError(
      'CONFIG_INVALID',
      `Step ${name} in steps: […] is only declared. List what implementStep(…) returned where it runs; who only adds it to jobs lists nothing.`,
      { step: name },
    );
  }
  return {
    definition: { ...definition, implementation },
    retry: resolveRetryPolicy(definition.retry, ofApp),
    run: undefined,
    deps: undefined,
  };
}

function connectStep(listed: ListedStep, container: Container): void {
  const { name, implementation } = listed.definition as StepDefinition;
  if (!implementation) return;
  if ('run' in implementation) {
    const deps = Object.entries(implementation.inject).map(([as, wanted]) => [as, resolveFor(name, `deps.${as}`, wanted, container)]);
    listed.deps = Object.fromEntries(deps);
    listed.run = implementation.run;
    return;
  }
  const { type, inject } = implementation;
  if (inject && !container.knows(type)) {
    container.provide(type, () =>
      Reflect.construct(
        type,
        inject.map((wanted, index) => resolveFor(name, `inject[${index}]`, wanted, container)),
      ),
    );
  }
  const instance = resolveFor(name, `its class ${type.name}`, type, container) as { run?: unknown };
  if (typeof instance.run !== 'function') {
    const execute = 'execute' in instance ? ' Rename execute to run.' : '';
    throw new SteppingError('CONFIG_INVALID', `Step ${name}: the class ${type.name} has no method run(context).${execute}`, { step: name });
  }
  listed.deps = {};
  listed.run = (context) => (instance as { run: Run }).run(context);
}

function resolveFor(step: string, what: string, wanted: Injectable, container: Container): unknown {
  try {
    return container.resolve(wanted);
  } catch (cause) {
    if (SteppingError.is(cause) && cause.code !== 'DEPENDENCY_MISSING') throw cause;
    const text = cause instanceof Error ? cause.message : String(cause);
    const name = typeof wanted === 'function' || typeof wanted?.key === 'symbol' ? describeInjectable(wanted) : String(wanted);
    throw new SteppingError('DEPENDENCY_MISSING', `Step ${step} asks for ${what} (${name}). ${text}`, { step, dependency: name, cause });
  }
}
