export type { StoreSchemaOptions } from './migrations.js';
export { steppingStoreMigrations } from './migrations.js';
export type { TypeormStoreOptions } from './typeorm-store.js';
export { typeormStore } from './typeorm-store.js';
