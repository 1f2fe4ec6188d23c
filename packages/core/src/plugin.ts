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
  /**
   * Creates or upgrades the schemas of this plugin, for `stepping.migrate()`; maybe before `start`. With `tenant`: those of that tenant's database
   * and no others, so a plugin without databases per tenant does nothing.
   */
  migrate?(resolver: Resolver, options: { tenant: string | undefined }): void | Promise<void>;
  start?(resolver: Resolver): void | Promise<void>;
  /**
   * `stepping.stop()` was called: take no new work from now on, but still serve what is open. {@link stop} follows once the open
   * business transactions have ended.
   */
  quiesce?(resolver: Resolver): void;
  /** `drainTimeoutMs` is what is left of the time that the caller of `stepping.stop()` gave; undefined: the caller gave none. */
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
