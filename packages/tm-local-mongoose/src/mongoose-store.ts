import { SteppingError } from '@stepping/core';
import { Store, type StorePlugin } from '@stepping/tm-local';
import type { Connection } from 'mongoose';
import { MongoStore } from './mongo-store.js';

/** Where {@link mongooseStore} keeps its jobs. */
export interface MongooseStoreOptions {
  /**
   * A connected Mongoose connection to a replica set; the jobs are kept in its database. The store opens a few connections of its own to the same servers, so it never takes one of the
   * application's pool, and no setting, schema or plugin of this connection reaches it. Business transactions of this very connection (or of one made from it by `useDb()`) are
   * committed together with their jobs.
   */
  readonly connection: Connection;
  /** First part of the names of our collections. Default `'stepping_'`. */
  readonly collectionPrefix?: string | undefined;
  /** Whether `stepping.start()` creates and upgrades collections and indexes. Default true; false: it only checks them, and `stepping.migrate()` changes them. */
  readonly migrate?: boolean | undefined;
}

/** Begins with a letter or `_`; neither `$`, which MongoDB refuses, nor `system.`. */
const PREFIX = /^(?!system\.)[A-Za-z_][A-Za-z0-9_.-]{0,63}$/;

/**
 * Keeps the jobs of the local TM in the application's own MongoDB, a replica set of 5.0 or newer, through Mongoose 9. What can be wrong with it is reported by
 * `stepping.start()`: `CONFIG_INVALID` (the connection is not open), `STORE_REFUSED` (a standalone server, a sharded cluster, collections that cannot keep our promises, a schema that
 * is newer or, with `migrate: false`, older than this release), `STORE_UNAVAILABLE` (it cannot be reached).
 *
 * @throws {@link SteppingError} `CONFIG_INVALID` if `collectionPrefix` is no name.
 * @example createStepping({ steps, tm: localTm({ store: mongooseStore({ connection: mongoose.connection }), processor: hostedProcessor() }) })
 */
export function mongooseStore(options: MongooseStoreOptions): StorePlugin {
  const { connection, collectionPrefix = 'stepping_', migrate = true } = options;
  if (!PREFIX.test(collectionPrefix)) {
    throw new SteppingError(
      'CONFIG_INVALID',
      `collectionPrefix ${JSON.stringify(collectionPrefix)} of mongooseStore() is no beginning of a collection's name. Use letters, digits, '_', '-' and '.', a letter or '_' first.`,
    );
  }
  return {
    name: 'tm-local-mongoose',
    provides: 'store',
    register: (registry) => registry.provide(Store, () => new MongoStore({ connection, collectionPrefix, migrate })),
  };
}
