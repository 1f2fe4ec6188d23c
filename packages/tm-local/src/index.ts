export type { FoundRow } from './answers.js';
export { answerByRow, verdictByRow } from './answers.js';
export { Clock, systemClock } from './clock.js';
export { firstLease } from './first-lease.js';
export type { JobRun } from './job-run.js';
export type { LocalTmOptions } from './local-tm.js';
export { LocalEngine, localTm } from './local-tm.js';
export type { MemoryDatabase } from './memory-database.js';
export type { MemoryStorePlugin } from './memory-store.js';
export { memoryStore } from './memory-store.js';
export type { ProcessorPlugin, StorePlugin } from './plugins.js';
export { Store } from './plugins.js';
export type { LocalProcessor, Place } from './processor-link.js';
export type { Purger } from './purge.js';
export type { QueryBack } from './query-back.js';
export { Slots } from './slots.js';
export { NO_STEPS } from './stored-steps.js';
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
