export type { TestStepping } from './create-test-stepping.js';
export { createTestStepping } from './create-test-stepping.js';
export type { MemoryDbPlugin } from './memory-db.js';
export { memoryDb } from './memory-db.js';
export type { MemoryDbTransaction } from './memory-transaction.js';
export { memoryTransaction } from './memory-transaction.js';
export type { VirtualClock } from './virtual-clock.js';
export { virtualClock } from './virtual-clock.js';
