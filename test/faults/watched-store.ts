import { Store, type StorePlugin, type TransactionStore } from '@stepping/tm-local';
import { withServices } from '../with-services.js';

/** The store of an app, with every call told of twice: when it is made, and when it is answered. */
export function watchedStore(inner: StorePlugin, tell: () => void): StorePlugin {
  return withServices(inner, (made, injectable) => (injectable === Store ? watched(made as TransactionStore, tell) : made));
}

/** The same, with every call told of twice. */
export function watched<T extends object>(inner: T, tell: () => void): T {
  return new Proxy(inner, {
    get(target, member) {
      const value: unknown = target[member as keyof T];
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) => {
        tell();
        const answer: unknown = value.apply(target, args);
        if (answer instanceof Promise) answer.then(tell, tell);
        return answer;
      };
    },
  });
}
