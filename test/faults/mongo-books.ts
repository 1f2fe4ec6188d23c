import { inTransaction, mongooseDb, once } from '@stepping/db-mongoose';
import { mongooseStore } from '@stepping/tm-local-mongoose';
import mongoose from 'mongoose';
import type { Books } from './books.js';
import type { Place } from './place.js';

export async function openMongoBooks(business: Place, jobs: Place): Promise<Books> {
  const connect = ({ url }: Place) => mongoose.createConnection(url, { serverSelectionTimeoutMS: 10_000 }).asPromise();
  const connection = await connect(business);
  const ofJobs = jobs === business ? connection : await connect(jobs);
  const orders = connection.collection<{ _id: string }>('shop_order');
  const effects = connection.collection<{ id: string }>('shop_effect');
  return {
    store: mongooseStore({ connection: ofJobs }),
    database: mongooseDb({ connection }),
    async setUp() {
      for (const { collectionName } of [orders, effects]) await connection.createCollection(collectionName);
    },
    order: (stepping, gid, addSteps) =>
      inTransaction(stepping, { connection, gid }, async ({ session, job }) => {
        await orders.insertOne({ _id: gid }, { session });
        addSteps(job);
      }),
    async effect(context) {
      await once(connection, context, async (session) => effects.insertOne({ id: context.idempotencyKey }, { session }));
    },
    async read() {
      const [ids, keys] = [await orders.find().toArray(), await effects.find().toArray()];
      return { orders: new Set(ids.map(({ _id }) => _id)), effects: keys.map(({ id }) => id) };
    },
    async spoil(gid) {
      await ofJobs.collection<{ _id: string }>('stepping_job').updateOne({ _id: gid }, { $set: { steps: '{"v":1,"st' } });
    },
    async look() {
      const session = await ofJobs.startSession();
      session.startTransaction({ readConcern: { level: 'snapshot' } });
      await ofJobs.collection('stepping_job').countDocuments({}, { session });
      return () => session.endSession();
    },
    async close() {
      for (const one of new Set([connection, ofJobs])) await one.close(true);
    },
  };
}
