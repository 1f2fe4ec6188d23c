export type { OnceOptions, OnceResult } from '@stepping/core/db';
export type { DatabaseTarget } from './held-transaction.js';
export type { BusinessScope, InTransactionTarget, IsolationLevel } from './in-transaction.js';
export { inTransaction } from './in-transaction.js';
export { steppingBarrierMigrations } from './migrations.js';
export { once } from './once.js';
export type { DatabasePerTenant, OneDatabase, TypeormDbOptions } from './typeorm-db.js';
export { typeormDb } from './typeorm-db.js';
export { typeormTransaction } from './typeorm-transaction.js';
