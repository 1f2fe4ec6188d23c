import type { SteppingPlugin, Token } from '@stepping/core';

/** The same plugin, which provides in place of each service what `replace` makes of it: the service itself to leave it as it is. */
export function withServices<P extends SteppingPlugin>(plugin: P, replace: (made: unknown, injectable: unknown) => unknown): P {
  return {
    ...plugin,
    register: (registry) =>
      plugin.register?.({
        provide: (injectable, factory) => registry.provide(injectable as Token<unknown>, (r) => replace(factory(r), injectable)),
      }),
  };
}
