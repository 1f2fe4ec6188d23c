import { strict as assert } from 'node:assert';
import { afterAll, beforeAll, it } from '@jest/globals';
import { SteppingError, type SteppingErrorCode } from '@stepping/core';
import { testService } from '@stepping/test-services';
import mongoose, { type Connection } from 'mongoose';
import { asRouter } from '../../db-mongoose/test/support/as-router.js';
import { mongooseStore } from '../src/index.js';
import { aClaim, aJob, openStore } from './a-store.js';

const mongodb = await testService('mongodb');
const standalone = await testService('mongodb-standalone');

/** Rejects with this code, and says this. */
function says(code: SteppingErrorCode, message: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(SteppingError.is(error, code), `${error}`);
    assert.match(error.message, message);
    return true;
  };
}

standalone.describe('mongooseStore on a standalone server', () => {
  it('does not start, and says how to make a replica set of it', async () => {
    const connection = await mongoose.createConnection(await standalone.database()).asPromise();
    await assert.rejects(
      openStore({ connection }).start(),
      says('STORE_REFUSED', /standalone.*--replSet.*rs\.initiate\(\).*\?replicaSet=/),
    );
    await connection.close();
  });
});

mongodb.describe('mongooseStore on a sharded cluster', () => {
  it('does not start, and says where the jobs may be', async () => {
    const router = await asRouter(await mongodb.database());
    const connection = await mongoose.createConnection(router.url).asPromise();
    await assert.rejects(
      openStore({ connection }).start(),
      says('STORE_REFUSED', /sharded cluster \(mongos\).*Keep the jobs in a replica set/),
    );
    await connection.close();
    await router.close();
  });
});

mongodb.describe('the start of mongooseStore', () => {
  let url: string;
  let connection: Connection;

  beforeAll(async () => {
    url = await mongodb.database();
    connection = await mongoose.createConnection(url).asPromise();
  });

  afterAll(() => connection.close());

  it('is refused on a connection that was never opened, and on one that is closed', async () => {
    const isClosed = says('CONFIG_INVALID', /not open.*asPromise\(\)/);
    await assert.rejects(openStore({ connection: mongoose.createConnection() }).start(), isClosed);
    const closed = await mongoose.createConnection(url).asPromise();
    await closed.close();
    await assert.rejects(openStore({ connection: closed }).start(), isClosed);
    await assert.rejects(openStore({ connection: closed }).migrate(), isClosed);
  });

  it('is refused with a prefix that is no name', () => {
    for (const collectionPrefix of ['$jobs', '', 'system.', 'a\u0000'])
      assert.throws(() => mongooseStore({ connection, collectionPrefix }), says('CONFIG_INVALID', /collectionPrefix/));
  });

  it('comes before everything else', async () => {
    await assert.rejects(async () => openStore({ connection }).claimDue(aClaim()), says('NOT_STARTED', /start/));
    assert.equal(await openStore({ connection }).resolve('a', 'mine'), 'unknown');
  });

  it('may be left to stepping.migrate(), and checks then', async () => {
    const collectionPrefix = 'checked_';
    const checking = openStore({ connection, collectionPrefix, migrate: false });
    await assert.rejects(checking.start(), says('STORE_REFUSED', /checked_job.*stepping\.migrate\(\)/));
    await checking.migrate();
    await checking.start();
    assert.deepEqual(await checking.create([aJob({ gid: 'a' })]), [{ outcome: 'stored', lease: 1 }]);
    await checking.stop();
  });

  it('is refused by collections of a newer release', async () => {
    const collectionPrefix = 'newer_';
    await openStore({ connection, collectionPrefix }).migrate();
    await connection.collection<{ _id: string; version: number }>('newer_schema').updateOne({ _id: 'store' }, { $inc: { version: 1 } });
    const isNewer = says('STORE_REFUSED', /version 2.*newer/);
    for (const migrate of [true, false]) await assert.rejects(openStore({ connection, collectionPrefix, migrate }).start(), isNewer);
    await assert.rejects(openStore({ connection, collectionPrefix }).migrate(), isNewer);
  });

  it('is refused by a collection that somebody made, in which gids are the same that differ', async () => {
    await connection.createCollection('folded_job', { collation: { locale: 'en', strength: 2 } });
    await assert.rejects(openStore({ connection, collectionPrefix: 'folded_' }).start(), says('STORE_REFUSED', /folded_job.*collation/));
  });

  it('is refused by a collection that forgets jobs by their age', async () => {
    await connection.collection('fading_job').createIndex({ finished_at: 1 }, { expireAfterSeconds: 60 });
    await assert.rejects(openStore({ connection, collectionPrefix: 'fading_' }).start(), says('STORE_REFUSED', /fading_job.*TTL/));
  });

  it('may happen in several processes at once, on an empty database', async () => {
    const stores = Array.from({ length: 4 }, () => openStore({ connection, collectionPrefix: 'together_' }));
    await Promise.all(stores.map((store) => store.start()));
    await Promise.all(stores.map((store) => store.stop()));
  });

  it('works on a connection made from another by useDb(), and on one that was given a client', async () => {
    const neighbour = connection.useDb(`${connection.name}_n`);
    const given = mongoose.createConnection().setClient(await new mongoose.mongo.MongoClient(url).connect());
    for (const one of [neighbour, given]) {
      const store = openStore({ connection: one, collectionPrefix: 'made_' });
      await store.start();
      await store.create([aJob({ gid: 'a' })]);
      assert.equal(await one.collection('made_job').countDocuments(), 1);
      await store.stop();
    }
    await neighbour.dropDatabase();
    await given.close();
  });
});
