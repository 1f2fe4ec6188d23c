import { Store, type StorePlugin, type TransactionStore } from '@stepping/tm-local';

/** The store of an app, with every call told of twice: when it is made, and when it is answered. */
export function watchedStore(inner: StorePlugin, tell: () => void): StorePlugin {
  return {
    ...inner,
    register: (registry) =>
      inner.register?.({
        provide: (injectable, factory) =>
          registry.provide(injectable, (r) => {
            const made = factory(r);
            return (injectable as unknown) === Store ? (watched(made as TransactionStore, tell) as never) : made;
          }),
      }),
  };
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
