import { testService } from '@stepping/test-services';
import { describeTransactionStore, type TransactionStoreHarness } from '@stepping/tm-local/testing';
import mongoose from 'mongoose';
import { openStore } from './a-store.js';

const mongodb = await testService('mongodb');

mongodb.describe('with a MongoDB server', () => {
  describeTransactionStore('mongooseStore', openHarness);
});

/** Two stores on two connections to one database. */
async function openHarness(): Promise<TransactionStoreHarness> {
  const url = await mongodb.database();
  const connection = await mongoose.createConnection(url).asPromise();
  const secondConnection = await mongoose.createConnection(url).asPromise();
  const store = openStore({ connection });
  const second = openStore({ connection: secondConnection });
  await store.start();
  await second.start();
  const jobs = connection.getClient().db(connection.name).collection<{ _id: string }>('stepping_job');
  return {
    store,
    second,
    age: async (gid, ms) => {
      // A date less a number is a date; where there is none there comes none.
      const earlier = (field: string) => ({
        $cond: [{ $eq: [{ $type: `$${field}` }, 'date'] }, { $subtract: [`$${field}`, ms] }, '$$REMOVE'],
      });
      const dates = { due_at: earlier('due_at'), created_at: earlier('created_at'), finished_at: earlier('finished_at') };
      await jobs.updateOne({ _id: gid }, [{ $set: dates }], { writeConcern: { w: 'majority' } });
    },
    clear: async () => {
      await jobs.deleteMany({}, { writeConcern: { w: 'majority' } });
    },
    beginTransaction: async () => {
      const session = await connection.startSession();
      session.startTransaction({ writeConcern: { w: 'majority' } });
      return {
        native: { kind: 'mongoose', handle: session },
        commit: async () => {
          await session.commitTransaction();
          await session.endSession();
        },
        rollback: async () => {
          await session.abortTransaction();
          await session.endSession();
        },
      };
    },
    close: async () => {
      await store.stop();
      await second.stop();
      await connection.close();
      await secondConnection.close();
    },
  };
}
