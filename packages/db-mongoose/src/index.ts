export type { OnceOptions, OnceResult } from '@stepping/core/db';
export type { BusinessScope, InTransactionTarget } from './in-transaction.js';
export { inTransaction } from './in-transaction.js';
export type { DatabasePerTenant, MongooseDbOptions, OneDatabase } from './mongoose-db.js';
export { mongooseDb } from './mongoose-db.js';
export type { NamedDatabase } from './mongoose-transaction.js';
export { mongooseTransaction } from './mongoose-transaction.js';
export type { OpenSession } from './once.js';
export { once } from './once.js';
