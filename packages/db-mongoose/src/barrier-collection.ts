import { SteppingError } from '@stepping/core';
import type { Connection, mongo } from 'mongoose';
import { codeOf } from './driver-error.js';

/**
 * A barrier. Its key is `gid/branch_id/op/barrier_id`, the order of DTM's own barrier table: unique by the one index that a collection always has, so there is none that could be missing, and all
 * barriers of a gid stand together.
 */
export interface Barrier {
  readonly _id: string;
  /** `msg` by the business transaction, `rollback` by whoever asked what became of it; `once` of an effect. */
  readonly reason: 'msg' | 'rollback' | 'once';
  /** By the clock of who inserted it; read only to tell half an hour from an hour. */
  readonly created_at: Date;
  /** Of an effect (`once`): whether it is a step's or a receiver's. Left out of messages, which keeps them out of the index. */
  readonly op?: 'once' | 'receive';
  /** Of an effect. */
  readonly gid?: string;
}

export type BarrierCollection = mongo.Collection<Barrier>;

const NAME = 'stepping_barrier';
/** What the collection looks like; raised with the next change of it. */
const VERSION = 1;
/** No gid begins like this. */
const VERSION_ID = '~version';

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

/** The barriers of this connection's database, through the driver: no schema, plugin or buffering of Mongoose is in the way. */
export function barriersIn(connection: Connection): BarrierCollection {
  return databaseOf(connection).collection<Barrier>(NAME, OWN);
}

export function messageKey(gid: string, instance: string): string {
  return `${gid}/00/msg/${instance}`;
}

export function effectKey(gid: string, position: string, op: 'once' | 'receive', barrierId: string): string {
  return `${gid}/${position}/${op}/${barrierId}`;
}

/** All barriers of a gid: '0' is what follows '/', and no gid has either in it. */
export function keysOf(gid: string): { readonly $gte: string; readonly $lt: string } {
  return { $gte: `${gid}/`, $lt: `${gid}0` };
}

/**
 * Makes the collection, before any transaction needs it, and looks whether it can keep its promise.
 *
 * @throws {@link SteppingError} `STORE_REFUSED`
 */
export async function migrateBarriers(connection: Connection): Promise<void> {
  const database = databaseOf(connection);
  await assertReplicaSet(database);
  const barriers = barriersIn(connection);
  await database.createCollection(NAME, { writeConcern: { w: 'majority' } }).catch((error: unknown) => {
    if (codeOf(error) !== NAMESPACE_EXISTS) throw error;
  });
  await assertPlain(database, barriers);
  const known = await barriers.findOne<{ version?: unknown }>({ _id: VERSION_ID });
  if (known !== null && known.version !== VERSION) throw newerVersion(known.version);
  // For sweeps, which go by age. Barriers of messages are many, and nobody looks for them by age.
  await barriers.createIndex(
    { op: 1, created_at: 1 },
    { name: 'stepping_barrier_effect', partialFilterExpression: { op: { $exists: true } }, commitQuorum: 'majority' },
  );
  if (known !== null) return;
  const version = { _id: VERSION_ID, version: VERSION } as unknown as Barrier;
  await barriers.insertOne(version).catch((error: unknown) => {
    if (codeOf(error) !== 11_000) throw error; // another process was first
  });
}

const NAMESPACE_EXISTS = 48;

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

/** What would let two barriers of one key in, take one out by its age, or refuse one. */
async function assertPlain(database: mongo.Db, barriers: BarrierCollection): Promise<void> {
  const [found] = await database.listCollections({ name: NAME }, { nameOnly: false }).toArray();
  const { type, options = {} } = (found ?? {}) as { type?: string; options?: Record<string, unknown> };
  if (type !== undefined && type !== 'collection') throw notPlain(`a ${type}`);
  const locale = (options.collation as { locale?: string } | undefined)?.locale ?? 'simple';
  if (locale !== 'simple') throw notPlain(`a collection with the collation ${locale}, which takes different gids for the same`);
  if (options.capped === true) throw notPlain('a capped collection, which forgets barriers');
  if (options.validator !== undefined) throw notPlain('a collection with a validator, which may refuse barriers');
  const ttl = (await barriers.indexes()).find((index) => index.expireAfterSeconds !== undefined);
  if (ttl !== undefined) throw notPlain(`a collection with a TTL index (${ttl.name}), which takes barriers whose job is still there`);
}

function notPlain(what: string): SteppingError<'STORE_REFUSED'> {
  return new SteppingError('STORE_REFUSED', `${NAME} is ${what}. Drop that, and let stepping.start() make the collection.`);
}

function newerVersion(version: unknown): SteppingError<'STORE_REFUSED'> {
  return new SteppingError(
    'STORE_REFUSED',
    `${NAME} is at version ${String(version)}, and this release knows version ${VERSION}. A newer release has made it: deploy that one, or one that knows it.`,
    { version },
  );
}
