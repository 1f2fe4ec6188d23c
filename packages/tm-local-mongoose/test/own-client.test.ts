import { strict as assert } from 'node:assert';
import { it } from '@jest/globals';
import { testService } from '@stepping/test-services';
import mongoose, { type mongo } from 'mongoose';
import { ownClient } from '../src/own-client.js';
import { collectionsOf } from '../src/schema.js';
import { inOwnTransaction } from '../src/transaction.js';

const mongodb = await testService('mongodb');

mongodb.describe('the client of mongooseStore', () => {
  it('sends a majority, the primary and retries, whatever the connection of the user says', async () => {
    const weak = await mongoose
      .createConnection(await mongodb.database(), {
        w: 1,
        readPreference: 'secondaryPreferred',
        retryWrites: false,
        useBigInt64: true,
      })
      .asPromise();
    const client = ownClient(weak);
    const sent: mongo.Document[] = [];
    client.on('commandStarted', ({ command }) => sent.push(command));
    (client as unknown as { monitorCommands: boolean }).monitorCommands = true;
    await client.connect();
    const { jobs } = collectionsOf(client, weak.name, 'stepping_');

    await jobs.bulkWrite([{ updateOne: { filter: { _id: 'a' }, update: { $set: { lease: 2 ** 40 } }, upsert: true } }]);
    const found = await jobs.findOne({ _id: 'a' });
    await inOwnTransaction(client, (session) => jobs.updateOne({ _id: 'a' }, { $inc: { lease: 1 } }, { session }));

    assert.equal(found?.lease, 2 ** 40);
    const command = (name: string) => sent.findLast((one) => name in one);
    const [update, find, commit] = [sent.find((one) => 'update' in one), command('find'), command('commitTransaction')];
    assert.equal(update?.writeConcern?.w, 'majority');
    assert.notEqual(update?.txnNumber, undefined); // what the driver sends again, the server does once
    assert.equal(commit?.writeConcern?.w, 'majority');
    assert.equal(find?.$readPreference?.mode ?? 'primary', 'primary');
    await client.close();
    await weak.close();
  });
});
