import { inTransaction, mongooseDb } from '@stepping/db-mongoose';
import { mongooseStore } from '@stepping/tm-local-mongoose';
import mongoose, { type Connection } from 'mongoose';
import { type SteppingDatabase, stepping } from './stepping.js';

const onMongodb: SteppingDatabase<Connection> = {
  connect: (url) => mongoose.createConnection(url).asPromise(),
  store: (connection) => mongooseStore({ connection }),
  transactions: (connection) => mongooseDb({ connection }),
  placeOrder: (app, connection, order, addSteps) =>
    inTransaction(app, connection, async ({ session, job }) => {
      addSteps(job);
      await connection.collection('bench_order').insertOne({ ...order, createdAt: new Date() }, { session });
    }),
  hasUnfinished: async (connection) => (await connection.collection('stepping_job').findOne({ due_at: { $exists: true } })) !== null,
  close: (connection) => connection.close(),
};

export const contestants = { mongodb: stepping(onMongodb) };
