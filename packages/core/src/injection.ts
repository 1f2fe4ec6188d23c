/** A typed name for a service in the container. Make one with {@link token}. */
export interface Token<T> {
  readonly key: symbol;
  /** Who provides it, for the message when nobody does: `'localTm(…) of @stepping/tm-local as tm'`. */
  readonly providedBy?: string | undefined;
  /** Carries the type only. A string key, so that two copies of this package keep it. */
  readonly '~service'?: T;
}

/** What can be asked of the container: a token or a class. */
export type Injectable<T = any> = Token<T> | (abstract new (...args: any[]) => T);

/** The service that an {@link Injectable} stands for. */
export type Injected<I> = I extends Token<infer T> ? T : I extends abstract new (...args: any[]) => infer T ? T : never;

/** An `inject` object becomes `deps`, an `inject` tuple becomes the constructor's parameters. */
export type DepsOf<I> = { -readonly [K in keyof I]: Injected<I[K]> };

/** Hands out services. */
export interface Resolver {
  /** @throws {@link SteppingError} `DEPENDENCY_MISSING` if nothing provides it. */
  resolve<T>(token: Injectable<T>): T;
}

/** Where plugins put their services. */
export interface Registry {
  /** `factory` runs once, when the service is first asked for. The last registration of a token wins. */
  provide<T>(token: Injectable<T>, factory: (r: Resolver) => NoInfer<T>): void;
}

/** The container of the application around us: a tsyringe container as it is; Nest's `ModuleRef` in three lines. Asked for what ours does not know. */
export interface ParentContainer {
  isRegistered(token: any, recursive?: boolean): boolean;
  resolve<T>(token: any): T;
}

/**
 * A typed token for {@link provide} and `inject`. A package that makes one for others says in `providedBy` what its user has to add.
 *
 * @example const Mailer = token<Mailer>('Mailer');
 */
export function token<T>(description: string, options: { providedBy?: string | undefined } = {}): Token<T> {
  return { key: Symbol(description), providedBy: options.providedBy };
}

/** How a token or class is called in messages. */
export function describeInjectable(injectable: Injectable): string {
  return typeof injectable === 'function'
    ? injectable.name
    : (typeof injectable.key === 'symbol' ? injectable.key.description : injectable.key) || 'an unnamed token';
}
