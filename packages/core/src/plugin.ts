import { describeInjectable, type Injectable, type Registry, type Resolver, type Token } from './injection.js';

/**
 * A module of an app: a transaction manager, a database, a service of the user.
 * Started by `stepping.start()` in the order of `use`, the transaction manager last; stopped in the reverse order.
 */
export interface SteppingPlugin {
  readonly name: string;
  /** Tokens that must be provided by some plugin; checked at `start()` (`PLUGIN_MISSING`). */
  readonly requires?: readonly Token<any>[];
  register?(registry: Registry): void;
  start?(resolver: Resolver): void | Promise<void>;
  /** `drainTimeoutMs` is what the caller of `stepping.stop()` asked for, if anything. */
  stop?(resolver: Resolver, options: { drainTimeoutMs: number | undefined }): void | Promise<void>;
}

/** What `tm:` takes. The brand keeps a store or a processor out of that place. */
export interface TmPlugin extends SteppingPlugin {
  readonly provides: 'tm';
}

/** One plugin, several, or nothing: `use: [isProd && tracing, databases]`. */
export type Use = SteppingPlugin | readonly Use[] | false | null | undefined;

/** Puts a service into the container. The last one wins, so tests can replace a service by adding another `provide`. */
export function provide<T>(injectable: Injectable<T>, factory: (r: Resolver) => NoInfer<T>): SteppingPlugin {
  return {
    name: `provide(${describeInjectable(injectable)})`,
    register: (registry) => registry.provide(injectable, factory),
  };
}
