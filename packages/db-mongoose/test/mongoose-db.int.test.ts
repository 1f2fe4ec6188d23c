import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { DbProviders, defineStep, type SteppingPlugin, unchecked } from '@stepping/core';
import { testService } from '@stepping/test-services';
import { type Connection, createConnection, Mongoose, type Schema } from 'mongoose';
import { barriersIn } from '../src/barrier-collection.js';
import { inTransaction, mongooseDb, mongooseTransaction, once } from '../src/index.js';
import { anApp, errorOf, ran, sendMail, started, stopApps } from './support/apps.js';
import { asRouter } from './support/as-router.js';
import { closeConnections, connected, mongodb, ordersOf } from './support/database.js';

// The driver waits half a second after each error before it looks for its server again, and longer on a busy machine.
jest.setTimeout(60_000);

const standalone = await testService('mongodb-standalone');

afterEach(async () => {
  await stopApps();
  await closeConnections();
});

const MAJORITY = { writeConcern: { w: 'majority' } } as const;

/** A plugin of a user. */
function meddle(schema: Schema): void {
  const refuse = () => Promise.reject(new Error('a plugin of the user'));
  schema.pre(['save', 'insertMany', 'bulkWrite', 'updateOne', 'deleteMany', 'find', 'findOne', 'aggregate'] as never, refuse);
  schema.add({ _id: Number });
}

let asking = 0;

const start = (plugin: SteppingPlugin) => started({ use: [plugin] });

mongodb.describe('mongooseDb', () => {
  let connection: Connection;
  beforeEach(async () => {
    connection = await connected();
  });

  it('makes its collection at start(), again and again, and beside others that start', async () => {
    await Promise.all([1, 2, 3].map(() => start(mongooseDb({ connection }))));
    await start(mongooseDb({ connection }));
    expect((await barriersIn(connection).indexes()).map(({ name }) => name)).toEqual(['_id_', 'stepping_barrier_effect']);
    expect(await barriersIn(connection).countDocuments()).toBe(1);
  });

  it('makes it by migrate(), before start()', async () => {
    const stepping = anApp({ use: [mongooseDb({ connection })] });
    await stepping.migrate();
    expect((await connection.listCollections()).map(({ name }) => name)).toContain('stepping_barrier');
  });

  it('refuses a collection that cannot keep barriers, and says why', async () => {
    const db = connection.getClient().db(connection.name);
    const as = async (options: object) => {
      await db.dropCollection('stepping_barrier').catch(() => {});
      await db.createCollection('stepping_barrier', options);
      return errorOf(start(mongooseDb({ connection })));
    };
    const cases = [
      [{ collation: { locale: 'en', strength: 2 } }, /collation en/],
      [{ capped: true, size: 10_000 }, /capped/],
      [{ validator: { reason: 'x' } }, /validator/],
    ] as const;
    for (const [options, why] of cases)
      expect(await as(options)).toMatchObject({ code: 'STORE_REFUSED', message: expect.stringMatching(why) });

    await db.dropCollection('stepping_barrier').catch(() => {});
    await db.collection('stepping_barrier').createIndex({ created_at: 1 }, { expireAfterSeconds: 60 });
    expect(await errorOf(start(mongooseDb({ connection })))).toMatchObject({
      code: 'STORE_REFUSED',
      message: expect.stringMatching(/TTL/),
    });
  });

  it('refuses a collection that a newer release has made', async () => {
    await start(mongooseDb({ connection }));
    await barriersIn(connection).updateOne({ _id: '~version' }, { $set: { version: 99 } } as object);
    expect(await errorOf(start(mongooseDb({ connection })))).toMatchObject({
      code: 'STORE_REFUSED',
      message: expect.stringMatching(/version 99/),
    });
  });

  it('refuses a connection that is not connected, or closed, and a name that is taken', async () => {
    const never = createConnection();
    expect(await errorOf(start(mongooseDb({ connection: never })))).toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringMatching(/asPromise\(\)/),
    });
    const twice = anApp({ use: [mongooseDb({ connection }), mongooseDb({ connection })] });
    expect(await errorOf(twice.start())).toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringMatching(/"default"/) });
    await connection.close();
    expect(await errorOf(start(mongooseDb({ connection })))).toMatchObject({ code: 'CONFIG_INVALID' });
    expect(await errorOf(() => mongooseDb({ connection, barrierRetentionMs: 60_000 }))).toMatchObject({ code: 'CONFIG_INVALID' });
  });

  it('does not know a question that it cannot ask, and says that the database is away', async () => {
    const stepping = await start(mongooseDb({ connection }));
    const [provider] = stepping.resolve(DbProviders).all();
    const ref = { provider: 'mongoose', name: 'default' };
    expect([await provider?.resolveInDoubt('g', 'i', ref), provider?.isReachable?.(ref)]).toEqual(['rolled-back', true]);
    await connection.close();
    expect([await provider?.resolveInDoubt('g', 'i', ref), provider?.isReachable?.(ref)]).toEqual(['unknown', false]);
    await expect(provider?.hasCommitted('g', 'i', ref)).rejects.toThrow(/closed/);
  });

  it.each<[string, object]>([
    ['it ran out of time while it waited for a transaction', { errorCode: 50 }],
    ['it meets a transaction', { errorCode: 112 }],
    ['the primary steps down', { errorCode: 189 }],
    ['there is another primary', { errorCode: 10_107 }],
    ['the server shuts down', { errorCode: 91 }],
    ['it was interrupted by an election', { errorCode: 11_602 }],
    ['the connection is cut', { closeConnection: true }],
    ['no majority has acknowledged it', { writeConcernError: { code: 64, errmsg: 'waiting for replication timed out' } }],
  ])('gives no verdict when %s, and the right one later', async (_, failure) => {
    const appName = `asks-${process.pid}-${++asking}`;
    const asked = await connected(await mongodb.database('asked'), { appName });
    const stepping = await start(mongooseDb({ connection: asked }));
    const [provider] = stepping.resolve(DbProviders).all();
    const ask = (instance: string) => provider?.resolveInDoubt('g', instance, { provider: 'mongoose', name: 'default' });
    await barriersIn(asked).insertOne({ _id: 'g/00/msg/committed', reason: 'msg', created_at: new Date() });
    const admin = asked.getClient().db('admin');
    const failing = (mode: object | 'off') =>
      admin.command({ configureFailPoint: 'failCommand', mode, data: { failCommands: ['insert'], appName, ...failure } });
    for (const instance of ['committed', 'rolled-back']) {
      await failing({ times: 2 }); // the driver asks again by itself
      try {
        expect(await ask(instance)).toBe('unknown');
      } finally {
        await failing('off');
      }
      expect(await ask(instance)).toBe(instance);
    }
  });

  it('takes a barrier that is not there for good, although its key is taken, for no answer', async () => {
    const stepping = await start(mongooseDb({ connection }));
    const [provider] = stepping.resolve(DbProviders).all();
    // Stands for a key that this node has and a majority has not: the insert is refused (11000), and no row is there to read.
    await barriersIn(connection).createIndex({ twin: 1 } as Record<string, 1>, { unique: true });
    expect(await provider?.resolveInDoubt('g', 'i', { provider: 'mongoose', name: 'default' })).toBe('unknown');
  });

  it("is not weakened by the connection's settings, nor reached by plugins and schemas", async () => {
    const url = await mongodb.database('weak');
    const weak = await createConnection(`${url}&w=1&readPreference=secondaryPreferred&readConcernLevel=local&retryWrites=false`, {
      promoteValues: false,
      ignoreUndefined: true,
      monitorCommands: true,
      autoIndex: false,
      bufferCommands: false,
    }).asPromise();
    const seen: any[] = [];
    weak.getClient().on('commandStarted', ({ command }) => {
      if (Object.values(command).includes('stepping_barrier')) seen.push(command);
    });
    const stepping = await start(mongooseDb({ connection: weak }));
    const [provider] = stepping.resolve(DbProviders).all();
    const ref = { provider: 'mongoose', name: 'default' };
    seen.length = 0;
    expect(await provider?.resolveInDoubt('g', 'i', ref)).toBe('rolled-back');
    expect(await provider?.hasCommitted('g', 'i', ref)).toBe(false);
    const [insert, ...finds] = seen;
    expect(insert).toMatchObject({ insert: 'stepping_barrier', writeConcern: { w: 'majority' }, maxTimeMS: 1_500 });
    for (const find of finds) expect(find).toMatchObject({ find: 'stepping_barrier', readConcern: { level: 'majority' } });
    expect(finds.length).toBe(2);
    await stepping.stop();
    await weak.close();
  });

  it.each<[string, (base: Mongoose) => object]>([
    ['writes that one node acknowledges, without its journal', () => ({ w: 1, journal: false })],
    ['reads from secondaries', () => ({ readPreference: 'secondaryPreferred' })],
    ['a read concern', () => ({ readConcernLevel: 'available' })],
    ['no retries', () => ({ retryWrites: false, retryReads: false })],
    ['numbers as objects', () => ({ promoteValues: false, promoteLongs: false })],
    ['numbers as bigints', () => ({ useBigInt64: true })],
    ['strict schemas and queries', (base) => base.set({ strict: 'throw', strictQuery: 'throw', sanitizeFilter: true }) && {}],
    ['no indexes, no collections and no buffering', () => ({ autoIndex: false, autoCreate: false, bufferCommands: false })],
    ['plugins that change and refuse documents', (base) => base.plugin(meddle) && {}],
    ['sessions for all they do', (base) => base.set('transactionAsyncLocalStorage', true) && {}],
  ])('starts a job if, and only if, its transaction commits, and does a step once, although users say: %s', async (_, settingsOn) => {
    const base = new Mongoose();
    const own = base.createConnection(await mongodb.database('set'), settingsOn(base));
    await own.asPromise();
    await own.getClient().db(own.name).createCollection('effects', MAJORITY);
    const effects = own.getClient().db(own.name).collection('effects', MAJORITY);
    const count = defineStep({
      name: 'count',
      args: unchecked<Record<string, never>>(),
      retry: { minDelayMs: 1 },
      async run(context) {
        await once(own, context, (session) => effects.insertOne({ gid: context.gid }, { session }));
        if (context.attempt === 1) throw new Error('and again');
      },
    });
    const stepping = await started({ use: [mongooseDb({ connection: own })], steps: [count], runs: true });
    const place = (gid: string, error?: Error) =>
      inTransaction(stepping, { connection: own, gid }, async ({ job }) => {
        job.addStep(count, {});
        if (error) throw error;
      });
    await place('committed');
    await errorOf(place('refused', new Error('no')));
    expect((await stepping.jobs.wait('committed', { timeoutMs: 50_000 })).status).toBe('succeeded');
    expect((await effects.find().toArray()).map(({ gid }) => gid)).toEqual(['committed']);

    const session = await own.startSession();
    const prepared = async (gid: string) => {
      session.startTransaction(MAJORITY);
      const job = stepping.createJob({ transaction: mongooseTransaction(session, own), gid }).addStep(count, {});
      await job.prepare();
      return job;
    };
    // Nobody says what became of them: the query-back asks.
    await prepared('asked');
    await session.commitTransaction();
    await prepared('dropped');
    await session.abortTransaction();
    expect((await stepping.jobs.wait('asked', { timeoutMs: 50_000 })).status).toBe('succeeded');
    expect((await stepping.jobs.wait('dropped', { timeoutMs: 50_000 })).status).toBe('rolled-back');
    await session.endSession();
    await stepping.stop();
    await own.close();
  });

  it('asks few questions at a time, so that transactions keep connections to end with', async () => {
    const url = await mongodb.database('small');
    const small = await connected(url, { maxPoolSize: 3, waitQueueTimeoutMS: 10_000 });
    await ordersOf(small).createCollection();
    const stepping = await start(mongooseDb({ connection: small }));
    const session = await small.startSession();
    session.startTransaction();
    const job = stepping.createJob({ transaction: mongooseTransaction(session, small) }).addStep(sendMail, { order: 1 });
    await job.prepare();
    const [provider] = stepping.resolve(DbProviders).all();
    const { instance } = job as unknown as { instance: string };
    const questions = Array.from({ length: 6 }, () =>
      provider?.resolveInDoubt(job.gid, instance, { provider: 'mongoose', name: 'default' }),
    );
    await session.commitTransaction();
    expect(await job.submit()).toBe('submitted');
    for (const answer of await Promise.all(questions)) expect(['committed', 'unknown']).toContain(answer);
    await session.endSession();
  });

  describe('for one database per tenant', () => {
    it('asks the database of the tenant that the transaction was in', async () => {
      const tenants = new Map<string, Connection>();
      const resolve = (tenant: string) => {
        const known = tenants.get(tenant) ?? connection.useDb(`${connection.name}_${tenant}`, { useCache: true });
        tenants.set(tenant, known);
        return known;
      };
      const stepping = await started({ use: [mongooseDb({ name: 'tenants', resolve })], runs: true });
      for (const tenant of ['acme', 'globex']) {
        await stepping.migrate({ tenant });
        await resolve(tenant).createCollection('orders');
      }
      ran.length = 0;
      const acme = resolve('acme');
      await inTransaction(stepping, { db: 'tenants', tenant: 'acme', gid: 'of-acme' }, async ({ session, job }) => {
        await acme.collection('orders').insertOne({ what: 'x' }, { session });
        job.addStep(sendMail, { order: 1 });
      });
      expect(await stepping.jobs.wait('of-acme', { timeoutMs: 50_000 })).toMatchObject({ status: 'succeeded', tenant: 'acme' });
      expect(await barriersIn(acme).countDocuments({ reason: 'msg' })).toBe(1);

      const session = await connection.startSession();
      session.startTransaction();
      const wrong = stepping.createJob({ transaction: mongooseTransaction(session, { db: 'tenants' }) }).addStep(sendMail, { order: 1 });
      expect(await errorOf(wrong.prepare())).toMatchObject({ code: 'DB_UNKNOWN', message: expect.stringMatching(/tenant/) });
      const call = inTransaction(stepping, { connection: acme, db: 'tenants', tenant: 'globex' }, async () => {});
      expect(await errorOf(call)).toMatchObject({ code: 'DB_MISMATCH', message: expect.stringMatching(/'globex'/) });
      const other = stepping
        .createJob({ transaction: mongooseTransaction(session, { db: 'tenants', tenant: 'globex' }), tenant: 'acme' })
        .addStep(sendMail, { order: 1 });
      expect(await errorOf(other.prepare())).toMatchObject({ code: 'DB_MISMATCH' });
      await session.endSession();
    });

    it('starts although the databases of tenants are down', async () => {
      const resolve = async (): Promise<Connection> => {
        throw new Error('down');
      };
      const stepping = await start(mongooseDb({ name: 'tenants', resolve }));
      expect(await errorOf(stepping.migrate({ tenant: 'acme' }))).toMatchObject({
        code: 'STORE_UNAVAILABLE',
        message: expect.stringMatching(/down/),
      });
      const [provider] = stepping.resolve(DbProviders).all();
      expect(await provider?.resolveInDoubt('g', 'i', { provider: 'mongoose', name: 'tenants', tenant: 'acme' })).toBe('unknown');
    });
  });
});

mongodb.describe('mongooseDb on a sharded cluster', () => {
  it('takes transactions by its router, and asks there what became of them', async () => {
    const router = await asRouter(await mongodb.database('sharded'));
    const connection = await connected(router.url);
    await ordersOf(connection).createCollection();
    const stepping = await started({ use: [mongooseDb({ connection })], runs: true });
    await inTransaction(stepping, { connection, gid: 'placed' }, async ({ session, job }) => {
      await ordersOf(connection).create([{ what: 'book' }], { session });
      job.addStep(sendMail, { order: 1 });
    });
    expect((await stepping.jobs.wait('placed', { timeoutMs: 50_000 })).status).toBe('succeeded');
    const session = await connection.startSession();
    session.startTransaction();
    await stepping
      .createJob({ transaction: mongooseTransaction(session, connection), gid: 'asked' })
      .addStep(sendMail, { order: 2 })
      .prepare();
    await session.commitTransaction();
    expect((await stepping.jobs.wait('asked', { timeoutMs: 50_000 })).status).toBe('succeeded');
    await session.endSession();
    await stepping.stop();
    await connection.close();
    await router.close();
  });
});

standalone.describe('mongooseDb on a standalone server', () => {
  it('refuses it, and says how to make it a replica set', async () => {
    const connection = await createConnection(await standalone.database()).asPromise();
    expect(await errorOf(start(mongooseDb({ connection })))).toMatchObject({
      code: 'STORE_REFUSED',
      message: expect.stringMatching(/--replSet rs0.*rs\.initiate\(\)/),
    });
    await connection.close();
  });
});

describe('mongooseDb without a server', () => {
  it('says that it cannot be reached', async () => {
    const connection = createConnection('mongodb://127.0.0.1:1/x', { serverSelectionTimeoutMS: 300 });
    await errorOf(connection.asPromise());
    expect(await errorOf(start(mongooseDb({ connection })))).toMatchObject({
      code: expect.stringMatching(/CONFIG_INVALID|STORE_UNAVAILABLE/),
    });
    await connection.close().catch(() => {});
  });
});
