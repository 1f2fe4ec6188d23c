import 'reflect-metadata';
import { Lifecycle, container as rootContainer, injectable as tsyringeInjectable } from 'tsyringe';
import { describeInjectable, type Injectable, type ParentContainer, type Registry, type Resolver } from './injection.js';
import { SteppingError } from './stepping-error.js';

type Class = abstract new (...args: any[]) => unknown;

/** Types that decorators emit where nothing is left to ask for: interfaces, unions, plain values, a class not loaded yet (undefined). */
const NOTHING_TO_ASK_FOR: ReadonlySet<unknown> = new Set([
  undefined,
  null,
  Object,
  String,
  Number,
  Boolean,
  Array,
  Function,
  Symbol,
  Promise,
  Date,
  BigInt,
]);

/**
 * The services of one app: a child container of tsyringe's. A service is made once, when it is first asked for; the last registration of a
 * token wins. What it does not know it asks of the application's own container, and then builds by tsyringe's rules: a class without constructor parameters,
 * or one whose parameter types the compiler emitted.
 */
export class Container implements Registry, Resolver {
  readonly #services = rootContainer.createChildContainer();
  readonly #parent: ParentContainer | undefined;
  readonly #beingMade: Injectable[] = [];
  readonly #abstract = new Set<Injectable>();
  /** What {@link provide} registered, by key: every transaction asks for some of it, and tsyringe takes its time. */
  readonly #provided = new Map<unknown, () => unknown>();

  constructor(parent: ParentContainer | undefined) {
    this.#parent = parent;
  }

  provide<T>(injectable: Injectable<T>, factory: (r: Resolver) => NoInfer<T>): void {
    const key = keyOf(injectable);
    let made: { readonly service: T } | undefined;
    const once = () => {
      made ??= { service: this.#make(injectable, factory) };
      return made.service;
    };
    this.#provided.set(key, once);
    this.#services.register(key, { useFactory: once });
  }

  /** Whether somebody registered it, here or in the application's container. */
  knows(injectable: Injectable): boolean {
    return this.#services.isRegistered(keyOf(injectable)) || this.#parentKey(injectable) !== undefined;
  }

  resolve<T>(injectable: Injectable<T>): T {
    if (typeof injectable !== 'function' && typeof injectable?.key !== 'symbol') throw notInjectable(injectable);
    const key = keyOf(injectable);
    const provided = this.#provided.get(key);
    if (provided !== undefined) return provided() as T;
    this.#learn(injectable, []);
    return this.#services.resolve<T>(key);
  }

  #make<T>(injectable: Injectable<T>, factory: (r: Resolver) => T): T {
    if (this.#beingMade.includes(injectable)) {
      const circle = [...this.#beingMade, injectable].map(describeInjectable).join(' → ');
      throw new SteppingError(
        'CONFIG_INVALID',
        `These services need each other: ${circle}. Break the circle: resolve one of them later, when it is used.`,
      );
    }
    this.#beingMade.push(injectable);
    try {
      return factory(this);
    } finally {
      this.#beingMade.pop();
    }
  }

  /** Sees to it that tsyringe can build `injectable` and all that its constructor asks for, or says what is missing before anything is built. */
  #learn(injectable: Injectable, askedBy: readonly Class[]): void {
    const key = keyOf(injectable);
    if (this.#abstract.has(injectable)) throw missing(injectable, askedBy);
    if (this.#services.isRegistered(key)) return;
    const parentKey = this.#parentKey(injectable);
    if (parentKey !== undefined) {
      // Not remembered: how long the application's service lives is for its container to say.
      this.#services.register(key, { useFactory: () => this.#parent?.resolve(parentKey) });
      return;
    }
    if (typeof injectable !== 'function') {
      if (this.#services.isRegistered(key, true)) return; // in tsyringe's global container
      throw missing(injectable, askedBy);
    }
    if (askedBy.includes(injectable)) return; // a circle of classes; tsyringe's delay() may break it
    this.#learnConstructor(injectable, [...askedBy, injectable]);
    if (this.#services.isRegistered(key, true)) return;
    tsyringeInjectable()(injectable as never);
    this.#services.register(key as never, { useClass: injectable as never }, { lifecycle: Lifecycle.ContainerScoped });
    if (!isEmpty(this.#services.resolve(key))) return;
    this.#abstract.add(injectable);
    throw missing(injectable, askedBy);
  }

  #learnConstructor(type: Class, askedBy: readonly Class[]): void {
    const parameters = constructorTypes(type);
    if (parameters.length === 0 && type.length > 0) {
      throw new SteppingError(
        'DEPENDENCY_MISSING',
        `The constructor of ${type.name} takes ${count(type.length, 'parameter')} and nothing says which: this compiler emits no types for decorators. Say it by inject: […] in its step({ … }), or add provide(${type.name}, (r) => new ${type.name}(…)) to use.`,
        { class: type.name },
      );
    }
    parameters.forEach((parameter, index) => {
      const wanted = isDescriptor(parameter) ? parameter.token : parameter;
      if (isDescriptor(parameter) && (parameter.isOptional || parameter.multiple)) return;
      if (isDelayed(wanted)) return;
      if (NOTHING_TO_ASK_FOR.has(wanted)) {
        throw new SteppingError(
          'DEPENDENCY_MISSING',
          `Parameter ${index + 1} of the constructor of ${type.name} has a type of which nothing is left at run time (an interface, a plain value, or a class in an import circle). Say it by inject: […] in its step({ … }), or add provide(${type.name}, (r) => new ${type.name}(…)) to use.`,
          { class: type.name, parameter: index },
        );
      }
      this.#learn(typeof wanted === 'symbol' || typeof wanted === 'string' ? tokenOf(wanted) : (wanted as Injectable), askedBy);
    });
  }

  /** What the application's container calls it: our tokens are registered there by their key or as they are. */
  #parentKey(injectable: Injectable): unknown {
    if (!this.#parent) return undefined;
    const key = keyOf(injectable);
    if (this.#parent.isRegistered(key, true)) return key;
    return key !== injectable && this.#parent.isRegistered(injectable, true) ? injectable : undefined;
  }
}

function keyOf(injectable: Injectable): any {
  return typeof injectable === 'function' ? injectable : injectable.key;
}

/** The types that the compiler emitted, overridden by what `@inject()` names. */
function constructorTypes(type: Class): readonly unknown[] {
  const emitted: unknown[] = Reflect.getMetadata('design:paramtypes', type) ?? [];
  const named: Record<number, unknown> = Reflect.getOwnMetadata('injectionTokens', type) ?? {};
  const length = Math.max(emitted.length, ...Object.keys(named).map((index) => Number(index) + 1));
  return Array.from({ length }, (_, index) => named[index] ?? emitted[index]);
}

function tokenOf(key: symbol | string): Injectable {
  return { key: key as symbol };
}

/** What tsyringe's `@inject(token, { isOptional })` and `@injectAll` leave. */
function isDescriptor(parameter: unknown): parameter is { token: unknown; isOptional?: boolean; multiple?: boolean } {
  return typeof parameter === 'object' && parameter !== null && 'token' in parameter && 'multiple' in parameter;
}

/** What tsyringe's `delay()` leaves: it is built when it is first used. */
function isDelayed(parameter: unknown): boolean {
  return typeof parameter === 'object' && parameter !== null && 'createProxy' in parameter;
}

// An abstract class can be built at run time. One that is asked for, but provided by nobody, would give steps an object without methods.
function isEmpty(service: unknown): boolean {
  if (typeof service !== 'object' || service === null || Reflect.ownKeys(service).length > 0) return false;
  for (let type = Object.getPrototypeOf(service); type && type !== Object.prototype; type = Object.getPrototypeOf(type)) {
    if (Reflect.ownKeys(type).some((member) => member !== 'constructor')) return false;
  }
  return true;
}

function notInjectable(value: unknown): SteppingError<'DEPENDENCY_MISSING'> {
  const circle = value === undefined ? ' Most often two modules import each other.' : '';
  return new SteppingError(
    'DEPENDENCY_MISSING',
    `${String(value)} is neither a token nor a class.${circle} Make a token by token<T>('…') and provide it.`,
  );
}

function missing(injectable: Injectable, askedBy: readonly Class[]): SteppingError<'DEPENDENCY_MISSING'> {
  const name = describeInjectable(injectable);
  const by = askedBy.length > 0 ? `, which the constructor of ${askedBy.at(-1)?.name} asks for` : '';
  const remedy =
    typeof injectable !== 'function' && injectable.providedBy
      ? `Add ${injectable.providedBy}`
      : `Add provide(${name}, () => …) to use: […] of createStepping, or register it in the container that you pass`;
  return new SteppingError('DEPENDENCY_MISSING', `Nothing provides ${name}${by}. ${remedy}.`, { dependency: name });
}

function count(n: number, what: string): string {
  return `${n} ${what}${n === 1 ? '' : 's'}`;
}
