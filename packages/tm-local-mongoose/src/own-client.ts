import { SteppingError } from '@stepping/core';
import type { Connection, mongo } from 'mongoose';

/** `Connection.readyState` of an open one. */
const CONNECTED = 1;

/**
 * Connections at once: two saves, a create, a change, two claims, an extend, the change stream, and what asks now and then. None of them waits for a lock of others, so none of them holds one
 * for long.
 */
const MAX_CONNECTIONS = 16;
/** How long a majority may take to acknowledge a write. Unit: ms. */
const REPLICATION_TIMEOUT_MS = 5_000;
/** How long we look for a primary. Unit: ms. */
const SELECTION_TIMEOUT_MS = 5_000;
/** A connection that has given no answer for so long is dead. The server ends transactions of others after a minute. Unit: ms. */
const ANSWER_TIMEOUT_MS = 30_000;

/** Numbers are numbers. */
const VALUES: mongo.BSONSerializeOptions = {
  promoteValues: true,
  promoteLongs: true,
  promoteBuffers: false,
  useBigInt64: false,
  ignoreUndefined: false,
  raw: false,
};

/** How our collections are read and written, whatever the client, the database or the connection of the user says. */
export const OWN_OPTIONS: mongo.CollectionOptions & mongo.BSONSerializeOptions = {
  readPreference: 'primary',
  readConcern: { level: 'local' },
  writeConcern: { w: 'majority', wtimeoutMS: REPLICATION_TIMEOUT_MS },
  ...VALUES,
};

/** Answers from what a majority has: what is read can never be rolled back. */
export const FROM_MAJORITY = { readConcern: { level: 'majority' } } as const;

/** Our own transactions. */
export const TRANSACTION: mongo.TransactionOptions = {
  readPreference: 'primary',
  readConcern: { level: 'snapshot' },
  writeConcern: { w: 'majority', wtimeoutMS: REPLICATION_TIMEOUT_MS },
};

/** Settings of the whole client, which a collection cannot have. */
const CLIENT_OPTIONS: mongo.MongoClientOptions = {
  ...VALUES,
  appName: 'stepping', // in the server's log and currentOp
  maxPoolSize: MAX_CONNECTIONS,
  minPoolSize: 0,
  waitQueueTimeoutMS: SELECTION_TIMEOUT_MS,
  serverSelectionTimeoutMS: SELECTION_TIMEOUT_MS,
  socketTimeoutMS: ANSWER_TIMEOUT_MS,
  retryWrites: true,
  retryReads: true,
  readPreference: 'primary',
  writeConcern: { w: 'majority', wtimeoutMS: REPLICATION_TIMEOUT_MS },
  monitorCommands: false,
};

/** What Mongoose keeps of how a connection was opened; none of it is there when it was given a client by `setClient()`. */
interface OpenedConnection {
  readonly _connectionOptions?: mongo.MongoClientOptions;
  readonly _parent?: OpenedConnection;
}

/**
 * A client of our own to the servers of this connection, with the same credentials and none of its settings: it takes nothing of the application's pool, whose
 * transactions may be waited for. Of the user's own copy of the driver.
 *
 * @throws {@link SteppingError} `CONFIG_INVALID` if the connection is not open.
 */
export function ownClient(connection: Connection): mongo.MongoClient {
  assertConnected(connection);
  const users = connection.getClient();
  const Client = users.constructor as typeof mongo.MongoClient;
  const { url } = (users as unknown as { readonly s: { readonly url: string } }).s;
  const { autoEncryption: _encryption, timeoutMS: _timeout, ...options } = optionsOf(connection as OpenedConnection);
  return new Client(url, { ...options, ...CLIENT_OPTIONS });
}

/** The user connects, we do not: a connection that is opened by us could be opened by them once more. */
export function assertConnected(connection: Connection): void {
  if (connection.readyState === CONNECTED) return;
  throw new SteppingError(
    'CONFIG_INVALID',
    'The connection given to mongooseStore() is not open: it was never connected, or is closed already. Connect first, `await mongoose.connect(url)` or `await connection.asPromise()`, then `await stepping.start()`, and close it after `await stepping.stop()`.',
  );
}

function optionsOf(connection: OpenedConnection): mongo.MongoClientOptions {
  return connection._connectionOptions ?? (connection._parent === undefined ? {} : optionsOf(connection._parent));
}
