import { DbProviders, type SteppingPlugin } from '@stepping/core';
import { watched } from './watched-store.js';

/** The database of an app, with every call of its ledger told of twice: when it is made, and when it is answered. */
export function watchedLedger(database: SteppingPlugin, tell: () => void): SteppingPlugin {
  return {
    ...database,
    async start(resolver) {
      await database.start?.(resolver);
      for (const provider of resolver.resolve(DbProviders).all()) {
        if (provider.ledger) Object.defineProperty(provider, 'ledger', { value: watched(provider.ledger, tell) });
      }
    },
  };
}
