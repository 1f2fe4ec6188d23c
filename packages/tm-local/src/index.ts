export { Clock, systemClock } from './clock.js';
export type { MemoryDatabase } from './memory-database.js';
export type { MemoryStorePlugin } from './memory-store.js';
export { memoryStore } from './memory-store.js';
export type { ProcessorPlugin, StorePlugin } from './plugins.js';
export { Store } from './plugins.js';
export type {
  Change,
  ChangeAnswer,
  ClaimedJob,
  CreateAnswer,
  CreateJob,
  EnlistedStore,
  Lease,
  PurgingJob,
  Save,
  StoredError,
  StoredJob,
  StoredStatus,
  StoreFilter,
  TransactionStore,
} from './transaction-store.js';
export { WriteRefused } from './transaction-store.js';
