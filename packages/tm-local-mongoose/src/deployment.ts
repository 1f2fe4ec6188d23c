import { randomUUID } from 'node:crypto';
import { SteppingError } from '@stepping/core';
import type { mongo } from 'mongoose';
import { FROM_MAJORITY } from './own-client.js';

/** `maxWireVersion` of MongoDB 5.0, the oldest that the statements are written for. */
const MONGODB_5_0 = 13;

/** The server's own. */
export async function serverTime(client: mongo.MongoClient): Promise<Date> {
  return (await client.db('admin').command({ hello: 1 })).localTime;
}

/**
 * Whether this server can keep the promises of a store: a replica set, which alone has transactions, with one clock at a time.
 *
 * @throws {@link SteppingError} `STORE_REFUSED`
 */
export async function assertReplicaSet(client: mongo.MongoClient): Promise<void> {
  const { msg, setName, maxWireVersion } = await client.db('admin').command({ hello: 1 });
  if (msg === 'isdbgrid') {
    throw new SteppingError(
      'STORE_REFUSED',
      'mongooseStore() was given a sharded cluster (mongos), whose routers each have a clock of their own. Keep the jobs in a replica set: a connection of its own, or of a business database that is one.',
    );
  }
  if (setName === undefined) {
    throw new SteppingError(
      'STORE_REFUSED',
      "mongooseStore() was given a standalone MongoDB server, which has no transactions. Make it a replica set, of one node if you like: start mongod with --replSet rs0 (replication.replSetName in mongod.conf), run rs.initiate() once in mongosh, and add ?replicaSet=rs0 to the connection's URL.",
    );
  }
  if (Number(maxWireVersion) < MONGODB_5_0) {
    throw new SteppingError('STORE_REFUSED', 'mongooseStore() needs MongoDB 5.0 or newer; this server is older. Upgrade it.');
  }
}

/**
 * Proves that our connections and the user's lead to the same database: what is committed together through one must be there for the other, or jobs would be lost.
 *
 * @throws {@link SteppingError} `STORE_REFUSED`
 */
export async function assertSameDatabase(own: mongo.Collection<{ _id: string }>, users: mongo.Collection<{ _id: string }>): Promise<void> {
  const _id = `~probe/${randomUUID()}`;
  await users.insertOne({ _id });
  try {
    if ((await own.findOne({ _id }, FROM_MAJORITY)) !== null) return;
  } finally {
    await users.deleteOne({ _id });
  }
  throw new SteppingError(
    'STORE_REFUSED',
    'The connections of mongooseStore() lead to another database than the connection it was given. Open that connection by mongoose.connect(url, options) or mongoose.createConnection(url, options), so that its URL and options are known.',
  );
}
