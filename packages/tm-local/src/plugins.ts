import { type SteppingPlugin, type Token, token } from '@stepping/core';
import type { TransactionStore } from './transaction-store.js';

/** What `localTm({ store })` takes. The brand keeps anything else out of that place. It provides {@link Store}. */
export interface StorePlugin extends SteppingPlugin {
  readonly provides: 'store';
}

/** What `localTm({ processor })` takes. */
export interface ProcessorPlugin extends SteppingPlugin {
  readonly provides: 'processor';
}

/** Provided by the store plugin. */
export const Store: Token<TransactionStore> = token<TransactionStore>('Store');
export type Store = TransactionStore;
