import { SteppingError } from '@stepping/core';
import type { Connection, mongo } from 'mongoose';
import { codeOf } from './driver-error.js';

/** No gid begins like this. */
const VERSION_ID = '~version';
const NAMESPACE_EXISTS = 48;

/** How long a majority may take to acknowledge a write of ours. Unit: ms. */
const REPLICATION_TIMEOUT_MS = 5_000;

/**
 * Everything that the user may have set on client, connection or database, said here: a verdict is written by a majority and read from a majority, on the primary. In a transaction
 * the concerns are the transaction's.
 */
const OWN: mongo.CollectionOptions & mongo.BSONSerializeOptions = {
  readPreference: 'primary',
  readConcern: { level: 'majority' },
  writeConcern: { w: 'majority', wtimeoutMS: REPLICATION_TIMEOUT_MS },
  promoteValues: true,
  promoteLongs: true,
  promoteBuffers: false,
  useBigInt64: false,
  ignoreUndefined: false,
  raw: false,
};

/** A collection of ours in a database of the user's. */
export interface OwnCollection {
  readonly name: string;
  /** What it looks like; raised with the next change of it. */
  readonly version: number;
  /** For messages: what is in it. */
  readonly keeps: string;
}

/** A collection of this connection's database, through the driver: no schema, plugin or buffering of Mongoose is in the way. */
export function collectionIn<D extends mongo.Document>(connection: Connection, { name }: OwnCollection): mongo.Collection<D> {
  return databaseOf(connection).collection<D>(name, OWN);
}

/**
 * Makes a collection, before anybody needs it, and looks whether it can keep its promise.
 *
 * @throws {@link SteppingError} `STORE_REFUSED`
 */
export async function makeCollection(connection: Connection, own: OwnCollection, index: mongo.IndexDescription): Promise<void> {
  const database = databaseOf(connection);
  await assertReplicaSet(database);
  const collection = collectionIn<mongo.Document & { _id: string }>(connection, own);
  await database.createCollection(own.name, { writeConcern: { w: 'majority' } }).catch((error: unknown) => {
    if (codeOf(error) !== NAMESPACE_EXISTS) throw error;
  });
  await assertPlain(database, own);
  const known = await collection.findOne<{ version?: unknown }>({ _id: VERSION_ID });
  if (known !== null && known.version !== own.version) throw newerVersion(own, known.version);
  const { key, ...options } = index;
  await collection.createIndex(key, { ...options, commitQuorum: 'majority' });
  if (known !== null) return;
  await collection.insertOne({ _id: VERSION_ID, version: own.version }).catch((error: unknown) => {
    if (codeOf(error) !== 11_000) throw error; // another process was first
  });
}

function databaseOf(connection: Connection): mongo.Db {
  return connection.getClient().db(connection.name);
}

async function assertReplicaSet(database: mongo.Db): Promise<void> {
  const hello = await database.admin().command({ hello: 1 });
  if (hello.setName !== undefined || hello.msg === 'isdbgrid') return;
  throw new SteppingError(
    'STORE_REFUSED',
    'This MongoDB server is a standalone one, which has no transactions. Make it a replica set, of one node if you like: start mongod with --replSet rs0, run rs.initiate() once in mongosh, and add ?replicaSet=rs0 to the URL.',
  );
}

/** What would let two documents of one key in, take one out by its age, or refuse one. */
async function assertPlain(database: mongo.Db, own: OwnCollection): Promise<void> {
  const [found] = await database.listCollections({ name: own.name }, { nameOnly: false }).toArray();
  const { type, options = {} } = (found ?? {}) as { type?: string; options?: Record<string, unknown> };
  if (type !== undefined && type !== 'collection') throw notPlain(own, `a ${type}`);
  const locale = (options.collation as { locale?: string } | undefined)?.locale ?? 'simple';
  if (locale !== 'simple') throw notPlain(own, `a collection with the collation ${locale}, which takes different gids for the same`);
  if (options.capped === true) throw notPlain(own, `a capped collection, which forgets ${own.keeps}`);
  if (options.validator !== undefined) throw notPlain(own, `a collection with a validator, which may refuse ${own.keeps}`);
  const ttl = (await database.collection(own.name).indexes()).find((index) => index.expireAfterSeconds !== undefined);
  if (ttl !== undefined)
    throw notPlain(own, `a collection with a TTL index (${ttl.name}), which takes ${own.keeps} whose job is still there`);
}

function notPlain({ name }: OwnCollection, what: string): SteppingError<'STORE_REFUSED'> {
  return new SteppingError('STORE_REFUSED', `${name} is ${what}. Drop that, and let stepping.start() make the collection.`);
}

function newerVersion(own: OwnCollection, version: unknown): SteppingError<'STORE_REFUSED'> {
  return new SteppingError(
    'STORE_REFUSED',
    `${own.name} is at version ${String(version)}, and this release knows version ${own.version}. A newer release has made it: deploy that one, or one that knows it.`,
    { version },
  );
}
