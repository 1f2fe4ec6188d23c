export type { TransactionStoreHarness, TransactionStoreTraits, UserTransaction } from './describe-transaction-store.js';
export { describeTransactionStore } from './describe-transaction-store.js';
export type { MemoryDbPlugin } from './memory-db.js';
export { memoryDb } from './memory-db.js';
export type { MemoryDbTransaction } from './memory-transaction.js';
export { memoryTransaction } from './memory-transaction.js';
export type { VirtualClock } from './virtual-clock.js';
export { virtualClock } from './virtual-clock.js';
