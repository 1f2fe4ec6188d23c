import { strict as assert } from 'node:assert';
import { it } from '@jest/globals';
import { testService } from '@stepping/test-services';
import mongoose, { type mongo } from 'mongoose';
import { ownClient } from '../src/own-client.js';
import { collectionsOf } from '../src/schema.js';
import { inOwnTransaction } from '../src/transaction.js';

const mongodb = await testService('mongodb');

/** What users say of their connection, by options or in its URL. */
const SETTINGS: [string, mongoose.ConnectOptions][] = [
  ['a write concern of one node', { w: 1 }],
  ['a write concern of nobody', { w: 0 }],
  ['no journal', { w: 1, journal: false }],
  ['reads from secondaries', { readPreference: 'secondaryPreferred' }],
  ['a read concern', { readConcernLevel: 'available' }],
  ['no retries', { retryWrites: false, retryReads: false }],
  ['numbers as objects', { promoteValues: false, promoteLongs: false }],
  ['numbers as bigints', { useBigInt64: true }],
  ['no nulls for undefined', { ignoreUndefined: true }],
  ['a pool of one connection', { maxPoolSize: 1 }],
  ['no indexes, no collections, no buffering', { autoIndex: false, autoCreate: false, bufferCommands: false }],
];

mongodb.describe('the client of mongooseStore', () => {
  it.each(SETTINGS)(
    'sends a majority, the primary and retries, and has numbers for numbers, although the user says: %s',
    async (_, settings) => {
      const users = mongoose.createConnection(await mongodb.database(), settings);
      await users.asPromise();
      const client = ownClient(users);
      const sent: mongo.Document[] = [];
      client.on('commandStarted', ({ command }) => sent.push(command));
      (client as unknown as { monitorCommands: boolean }).monitorCommands = true;
      await client.connect();
      const { jobs } = collectionsOf(client, users.name, 'stepping_');

      const _id = crypto.randomUUID();
      await jobs.bulkWrite([{ updateOne: { filter: { _id }, update: { $set: { lease: 2 ** 40 } }, upsert: true } }]);
      const found = await jobs.findOne({ _id });
      await inOwnTransaction(client, (session) => jobs.updateOne({ _id }, { $inc: { lease: 1 } }, { session }));

      assert.equal(found?.lease, 2 ** 40);
      const command = (name: string) => sent.findLast((one) => name in one);
      const [update, find, commit] = [sent.find((one) => 'update' in one), command('find'), command('commitTransaction')];
      assert.equal(update?.writeConcern?.w, 'majority');
      assert.equal(update?.writeConcern?.j, undefined);
      assert.notEqual(update?.txnNumber, undefined); // what the driver sends again, the server does once
      assert.equal(commit?.writeConcern?.w, 'majority');
      assert.equal(find?.$readPreference?.mode ?? 'primary', 'primary');
      assert.equal(find?.readConcern?.level, 'local');
      await client.close();
      await users.close();
    },
  );
});
