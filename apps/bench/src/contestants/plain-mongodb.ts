import { randomUUID } from 'node:crypto';
import mongoose from 'mongoose';
import type { Contestant, Order, Payload, Producer } from '../contestant.js';
import { GroupWriter } from './group-writer.js';
import { type PlainJob, runPlainLoop } from './plain-loop.js';

/** Batches of progress in flight at once. */
const LANES = 2;
const MAX_BATCH = 1_000;

interface JobDocument {
  readonly _id: number;
  readonly state: number;
  readonly step: number;
  readonly steps: string;
}

type Place = (db: mongoose.mongo.Db, session: mongoose.mongo.ClientSession, order: Order, args: Payload) => Promise<unknown>;

/** Loops of MongoDB's driver: the same writes in the same groups, and nothing else. One process claims. */
function plainMongodb(place: Place): Contestant {
  return {
    async create(url) {
      const { client, db } = await connect(url);
      await db.createCollection('job');
      await db.collection('job').createIndex({ state: 1, _id: 1 }, { partialFilterExpression: { state: { $lt: 2 } } });
      await client.close();
    },
    async openProducer(url, { orders: ordersUrl }) {
      const { client, db } = await connect(url);
      const orders = ordersUrl === url ? { client, db } : await connect(ordersUrl);
      if (ordersUrl !== url) for (const name of ['barrier', 'tied_job']) await orders.db.createCollection(name);
      const jobs = db.collection<JobDocument>('job');
      let next = 1;
      const writer = new GroupWriter<string>(
        async (list) => void (await jobs.insertMany(list.map((steps) => ({ _id: next++, state: 0, step: 0, steps })))),
        { lanes: 1, maxBatch: MAX_BATCH },
      );
      const producer: Producer = {
        enqueue: (args) => writer.add(steps(1, args)),
        async fill(count, payloads) {
          await Promise.all(payloads.map((args) => writer.add(steps(count, args))));
        },
        placeOrder: (order, args) =>
          orders.client.withSession((session) => session.withTransaction(() => place(orders.db, session, order, args))),
        close: () => Promise.all([client.close(), orders.client === client ? undefined : orders.client.close()]),
      };
      return producer;
    },
    async openWorker(url, { onStep }) {
      const { client, db } = await connect(url);
      const jobs = db.collection<JobDocument>('job');
      const claim = async (limit: number): Promise<PlainJob[]> => {
        const found = await jobs.find({ state: 0 }).sort({ _id: 1 }).limit(limit).toArray();
        if (found.length > 0) await jobs.updateMany({ _id: { $in: found.map(({ _id }) => _id) }, state: 0 }, { $set: { state: 1 } });
        return found.map(({ _id, steps }) => ({ id: _id, steps: JSON.parse(steps) }));
      };
      const save = async (batch: readonly (readonly [PlainJob, number])[]) => {
        const updates = batch.map(([{ id, steps }, step]) => ({
          updateOne: { filter: { _id: id }, update: { $set: { step, state: step === steps.length ? 2 : 1 } } },
        }));
        await jobs.bulkWrite(updates, { ordered: false });
      };
      const writer = new GroupWriter(save, { lanes: LANES, maxBatch: MAX_BATCH });
      let stop = async () => {};
      return {
        async start() {
          stop = runPlainLoop({ claim, saveProgress: (job, stepsDone) => writer.add([job, stepsDone]) }, async (args) => onStep(args));
        },
        hasUnfinished: async () => (await jobs.findOne({ state: { $lt: 2 } })) !== null,
        async close() {
          await stop();
          await client.close();
        },
      };
    },
  };
}

/** Business document and job in one transaction. */
const withJob: Place = async (db, session, order, args) => {
  await db.collection('bench_order').insertOne({ ...order, createdAt: new Date() }, { session });
  await db.collection('job').insertOne({ _id: randomUUID() as any, state: 0, step: 0, steps: steps(1, args) }, { session });
};

/** Business document alone. */
const bare: Place = (db, session, order) => db.collection('bench_order').insertOne({ ...order, createdAt: new Date() }, { session });

/** Business document, barrier and job: what a two-phase start writes, in one transaction. */
const sameRows: Place = async (db, session, order, args) => {
  const gid = randomUUID();
  await db.collection('bench_order').insertOne({ ...order, createdAt: new Date() }, { session });
  await db.collection('barrier').insertOne({ _id: `${gid}/00/msg/${randomUUID()}` as any, reason: 'msg' }, { session });
  await db.collection('tied_job').insertOne({ _id: gid as any, steps: steps(1, args) }, { session });
};

async function connect(url: string): Promise<{ client: mongoose.mongo.MongoClient; db: mongoose.mongo.Db }> {
  const client = await new mongoose.mongo.MongoClient(url, { w: 'majority' }).connect();
  return { client, db: client.db() };
}

function steps(count: number, args: Payload): string {
  return JSON.stringify(Array.from({ length: count }, () => args));
}

export const contestants = { kept: plainMongodb(withJob), bare: plainMongodb(bare), rows: plainMongodb(sameRows) };
