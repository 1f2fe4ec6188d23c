import type { TransactionStore } from '@stepping/tm-local';
import { storeOf } from '../../tm-local/test/support/a-store.js';
import { type TypeormStoreOptions, typeormStore } from '../src/index.js';

export { aClaim, aJob } from '../../tm-local/test/support/a-store.js';

export function openStore(options: TypeormStoreOptions): TransactionStore {
  return storeOf(typeormStore(options));
}
