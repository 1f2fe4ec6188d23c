export type { MongooseStoreOptions } from './mongoose-store.js';
export { mongooseStore } from './mongoose-store.js';
