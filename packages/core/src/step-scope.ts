import type { DbProviders } from './db-transaction.js';
import type { RunContext } from './step.js';
import type { Claim } from './steps.js';

/** What stands behind a step's context: for packages that act for the step in its transaction. */
export interface StepScope {
  readonly claim: Claim;
  /** The databases of the app that runs the step. Undefined under `runStep`, where there is no app. */
  readonly databases: DbProviders | undefined;
}

// A registered symbol on the global object: a context made by one copy of this package is known to a package that got another.
const shared = globalThis as unknown as Record<symbol, WeakMap<object, StepScope> | undefined>;
const scopesKey = Symbol.for('stepping.step-scopes');
const scopes = shared[scopesKey] ?? new WeakMap<object, StepScope>();
shared[scopesKey] = scopes;

/** The scope of a context that a step received; undefined for any other object, a copy of a context among them. */
export function stepScopeOf(context: RunContext<any, any, any>): StepScope | undefined {
  return scopes.get(context);
}

export function rememberScope<C extends RunContext<unknown, unknown>>(context: C, scope: StepScope): C {
  scopes.set(context, scope);
  return context;
}
