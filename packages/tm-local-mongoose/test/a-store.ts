import type { TransactionStore } from '@stepping/tm-local';
import { storeOf } from '../../tm-local/test/support/a-store.js';
import { type MongooseStoreOptions, mongooseStore } from '../src/index.js';

export { aClaim, aJob, aSave } from '../../tm-local/test/support/a-store.js';

export function openStore(options: MongooseStoreOptions): TransactionStore {
  return storeOf(mongooseStore(options));
}
