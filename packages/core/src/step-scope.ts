import type { DbProviders } from './db-transaction.js';
import type { RunContext } from './step.js';
import type { Claim } from './steps.js';

/** What stands behind a step's context: for packages that act for the step in its transaction. */
export interface StepScope {
  readonly claim: Claim;
  /** The databases of the app that runs the step. Undefined under `runStep`, where there is no app. */
  readonly databases: DbProviders | undefined;
}

/** Where a context keeps its scope. A registered symbol: a context made by one copy of this package is known to a package that got another. */
export const scopeKey: unique symbol = Symbol.for('stepping.step-scope') as any;

/** The scope of a context that a step received; undefined for any other object, a copy of a context among them. */
export function stepScopeOf(context: RunContext<any, any, any>): StepScope | undefined {
  return (context as { readonly [scopeKey]?: StepScope })[scopeKey];
}

/** Not enumerable, so that copies have none. (A WeakMap of contexts would cost more than all else that is done for an attempt.) */
export function rememberScope<C extends RunContext<unknown, unknown>>(context: C, scope: StepScope): C {
  return Object.defineProperty(context, scopeKey, { value: scope });
}
