import { afterEach, expect, it } from '@jest/globals';
import {
  DbProviders,
  defineStep,
  type JobInfo,
  permanent,
  type RetryPolicy,
  type StepContext,
  silentLogger,
  unchecked,
} from '@stepping/core';
import { runStep } from '@stepping/core/testing';
import { createTestStepping, type TestStepping } from '@stepping/tm-local/testing';
import type { Connection } from 'mongoose';
import { barriersIn } from '../src/barrier-collection.js';
import { mongooseDb, once } from '../src/index.js';
import type { MongooseDbProvider } from '../src/mongoose-db-provider.js';
import { errorOf, started, stopApps } from './support/apps.js';
import { openWire } from './support/cut-commit.js';
import { closeConnections, connected, mongodb, ordersOf } from './support/database.js';

const LEASE_MS = 10_000;
const DAY_MS = 86_400_000;
const closing: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  await stopApps();
  for (const close of closing.splice(0).reverse()) await close();
  await closeConnections();
});

type Body = (context: StepContext<any, any>) => Promise<unknown>;

/** A step that does what the test says at each attempt: the last entry again and again. */
function aStep(name: string, bodies: readonly Body[], retry: RetryPolicy = {}) {
  let attempts = 0;
  return defineStep({
    name,
    args: unchecked<{ n: number } | undefined>(),
    retry,
    run: (context) => bodies[Math.min(attempts++, bodies.length - 1)]?.(context),
  });
}

/** An app with a virtual clock, whose business database is real. */
async function anApp(options: Parameters<typeof createTestStepping>[0]): Promise<TestStepping> {
  const app: TestStepping = await createTestStepping(options);
  closing.push(() => app.stop({ drainTimeoutMs: 0 }));
  return app;
}

const effects = (connection: Connection) =>
  barriersIn(connection)
    .find({ op: { $exists: true } })
    .sort({ _id: 1 })
    .toArray();
const makeOlder = (connection: Connection, days: number) =>
  barriersIn(connection).updateMany({ created_at: { $exists: true } }, [
    { $set: { created_at: { $subtract: ['$created_at', days * DAY_MS] } } },
  ]);

mongodb.describe('once on MongoDB', () => {
  const place = (connection: Connection, what: string) => async (session: any) =>
    (await ordersOf(connection).create([{ what }], { session }))[0]?.what;

  /** An app with one step, which places an order once. */
  const setUp = async (bodies: (orderOnce: Body, connection: Connection) => readonly Body[], retry?: RetryPolicy) => {
    const connection = await connected();
    const answers: unknown[] = [];
    const orderOnce: Body = async (context) => {
      const answer = await once(connection, context, place(connection, context.idempotencyKey));
      answers.push(answer);
      return answer;
    };
    const step = aStep('order', bodies(orderOnce, connection), retry);
    const app = await anApp({ steps: [step], use: [mongooseDb({ connection })] });
    const run = async (gid: string, steps = 1): Promise<JobInfo> => {
      const job = app.createJob({ gid });
      for (let i = 0; i < steps; i++) job.addStep(step, { n: i });
      await job.start();
      await app.drain();
      return (await app.jobs.find(gid)) as JobInfo;
    };
    return { connection, app, step, answers, run, orders: () => ordersOf(connection).countDocuments() };
  };

  it('runs nothing when the step is repeated after its commit', async () => {
    const t = await setUp((orderOnce) => [
      async (context) => {
        await orderOnce(context);
        throw new Error('after the commit');
      },
      orderOnce,
    ]);
    expect(await t.run('job')).toMatchObject({ status: 'submitted', attempt: 2 });
    await t.app.clock.advance(60_000);
    await t.app.drain();
    expect(t.answers).toEqual([{ ran: true, value: 'job/000' }, { ran: false }]);
    expect(await t.orders()).toBe(1);
    expect(await t.app.jobs.find('job')).toMatchObject({ status: 'succeeded' });
  });

  it('runs again when its work threw, which passes as it is', async () => {
    const boom = new Error('boom');
    const seen: unknown[] = [];
    const t = await setUp((orderOnce, connection) => [
      async (context) => {
        const work = once(connection, context, async (session) => {
          await place(connection, 'undone')(session);
          throw boom;
        });
        seen.push(await errorOf(work));
        await orderOnce(context);
      },
    ]);
    await t.run('job');
    expect(seen[0]).toBe(boom);
    expect(t.answers).toEqual([{ ran: true, value: 'job/000' }]);
    expect(await t.orders()).toBe(1);
  });

  it('runs its work again when MongoDB asks for it, and counts the last run alone', async () => {
    let runs = 0;
    const t = await setUp((_, connection) => [
      async (context) => {
        t.answers.push(
          await once(connection, context, async (session) => {
            await place(connection, `run ${++runs}`)(session);
            const { MongoServerError } = connection.base.mongo;
            if (runs < 3) throw new MongoServerError({ message: 'conflict', code: 112, errorLabels: ['TransientTransactionError'] });
            return runs;
          }),
        );
      },
    ]);
    await t.run('job');
    expect(t.answers).toEqual([{ ran: true, value: 3 }]);
    expect((await ordersOf(t.connection).find()).map(({ what }) => what)).toEqual(['run 3']);
  });

  it('runs for each of two positions of one step in a job, and is still once after a redrive', async () => {
    const t = await setUp((orderOnce) => [
      orderOnce,
      async (context) => {
        await orderOnce(context);
        throw permanent('not like this');
      },
      orderOnce,
    ]);
    expect(await t.run('job', 2)).toMatchObject({ status: 'failed' });
    await t.app.jobs.redrive('job');
    await t.app.drain();
    expect(t.answers).toEqual([{ ran: true, value: 'job/000' }, { ran: true, value: 'job/001' }, { ran: false }]);
    expect(await t.orders()).toBe(2);
  });

  it('tells several in one step apart by their names, and refuses a second one without', async () => {
    const t = await setUp((orderOnce, connection) => [
      async (context) => {
        await orderOnce(context);
        for (const name of ['first', 'second']) await once(connection, context, place(connection, name), { name });
        expect(await errorOf(orderOnce(context))).toMatchObject({
          code: 'CONFIG_INVALID',
          message: expect.stringMatching(/name: 'refund'/),
        });
      },
    ]);
    expect(await t.run('job')).toMatchObject({ status: 'succeeded' });
    expect(await t.orders()).toBe(3);
  });

  it('does not run for a worker that was frozen until after the purge of its job (R10)', async () => {
    let wakeUp = () => {};
    const frozen = new Promise<void>((resolve) => {
      wakeUp = resolve;
    });
    const errors: Promise<any>[] = [];
    const t = await setUp((orderOnce) => [
      (context) => {
        errors.push(errorOf(frozen.then(() => orderOnce(context))));
        return new Promise(() => {});
      },
      orderOnce,
    ]);
    await t.app.createJob({ gid: 'job' }).addStep(t.step).start();
    void t.app.drain();
    while (errors.length === 0) await new Promise((resolve) => setImmediate(resolve));
    await t.app.clock.advance(LEASE_MS + 1);
    await t.app.drain();
    expect(await t.app.jobs.find('job')).toMatchObject({ status: 'succeeded' });

    await makeOlder(t.connection, 1);
    await t.app.clock.advance(DAY_MS);
    expect(await t.app.jobs.purge({ finishedBefore: t.app.clock.now() })).toEqual({ purged: 1 });
    expect(await effects(t.connection)).toEqual([]);
    wakeUp();
    expect(await errors[0]).toMatchObject({ code: 'LEASE_LOST' });
    expect([await t.orders(), await effects(t.connection)]).toEqual([1, []]);
  });

  it('refuses a database that the app does not know, and a copy of the context', async () => {
    const stranger = await connected();
    const seen: any[] = [];
    const t = await setUp((_, connection) => [
      async (context) => {
        seen.push(await errorOf(once(stranger, context, async () => {})));
        seen.push(await errorOf(once(connection, { ...context }, async () => {})));
      },
    ]);
    await t.run('job');
    expect(seen).toEqual([expect.objectContaining({ code: 'DB_UNKNOWN' }), expect.objectContaining({ code: 'CONFIG_INVALID' })]);
    expect(await errorOf(once(stranger, 'a key', async () => {}))).toMatchObject({ code: 'DB_UNKNOWN' });
  });

  it('works under runStep, without an app', async () => {
    const connection = await connected();
    const step = aStep('order', [async (context) => once(connection, context, place(connection, 'x'))]);
    expect(await runStep(step, { gid: 'a' })).toMatchObject({ ran: true });
    expect(await runStep(step, { gid: 'a' })).toEqual({ ran: false });
    expect(await runStep(step, { gid: 'a', idempotencyKey: 'a/001' })).toMatchObject({ ran: true });
    expect(await ordersOf(connection).countDocuments()).toBe(2);
  });

  describe('with a session that the caller holds', () => {
    it('joins its transaction: what was done, and that it was done, commits or aborts with it', async () => {
      const t = await setUp((_, connection) => [
        async (context) => {
          const session = await connection.startSession();
          for (const end of ['abortTransaction', 'commitTransaction', 'commitTransaction'] as const) {
            session.startTransaction();
            t.answers.push(await once({ session, connection }, context, async (mine) => void (await place(connection, end)(mine))));
            await session[end]();
          }
          await session.endSession();
        },
      ]);
      expect(await t.run('job')).toMatchObject({ status: 'succeeded' });
      expect(t.answers).toEqual([{ ran: true }, { ran: true }, { ran: false }]);
      expect(await t.orders()).toBe(1);
    });

    it('aborts it when the work throws: there is no savepoint to go back to', async () => {
      const boom = new Error('boom');
      const t = await setUp((_, connection) => [
        async (context) => {
          const session = await connection.startSession();
          session.startTransaction();
          await place(connection, 'before')(session);
          const failed = once({ session, connection }, context, async (mine) => {
            await place(connection, 'undone')(mine);
            throw boom;
          });
          expect(await errorOf(failed)).toBe(boom);
          expect(session.inTransaction()).toBe(false);
          await session.endSession();
        },
      ]);
      expect(await t.run('job')).toMatchObject({ status: 'succeeded' });
      expect([await t.orders(), await effects(t.connection)]).toEqual([0, []]);
    });

    it('needs one that is open, of the same client, and commits with a majority', async () => {
      const other = await connected();
      const t = await setUp((_, connection) => [
        async (context) => {
          const session = await connection.startSession();
          const work = async () => {};
          expect(await errorOf(once({ session, connection }, context, work))).toMatchObject({ code: 'TX_NOT_ACTIVE' });
          session.startTransaction({ writeConcern: { w: 1 } });
          expect(await errorOf(once({ session, connection }, context, work))).toMatchObject({ code: 'STORE_REFUSED' });
          const foreign = await other.startSession();
          foreign.startTransaction();
          expect(await errorOf(once({ session: foreign, connection }, context, work))).toMatchObject({ code: 'DB_MISMATCH' });
          await Promise.all([session.endSession(), foreign.endSession()]);
        },
      ]);
      expect(await t.run('job')).toMatchObject({ status: 'succeeded' });
    });
  });

  describe('for a received key', () => {
    const receiver = async (connection?: Connection) => {
      const used = connection ?? (await connected());
      await started({ use: [mongooseDb({ connection: used })] });
      return used;
    };

    it('runs once, whatever text the key is', async () => {
      const connection = await receiver();
      for (const key of ['job/000', '{ "$gt": "" }', 'x'.repeat(10_000)]) {
        expect(await once(connection, key, place(connection, 'x'))).toEqual({ ran: true, value: 'x' });
        expect(await once(connection, key, place(connection, 'x'))).toEqual({ ran: false });
        expect(await once(connection, key, async () => 'other', { name: 'other' })).toEqual({ ran: true, value: 'other' });
      }
      expect(await ordersOf(connection).countDocuments()).toBe(3);
      expect(await errorOf(once(connection, '', async () => {}))).toMatchObject({ code: 'CONFIG_INVALID' });
    });

    it('of two at the same time runs one, and the other waits for it', async () => {
      const connection = await receiver();
      const { promise: gate, resolve: open } = Promise.withResolvers<void>();
      const runs: string[] = [];
      const call = (name: string) =>
        once(connection, 'key', async (session) => {
          runs.push(name);
          await gate;
          await place(connection, name)(session);
        });
      const first = call('first');
      while (runs.length === 0) await new Promise((resolve) => setImmediate(resolve));
      let conflicts = 0;
      const transaction = connection.transaction.bind(connection);
      connection.transaction = (work: any, options) =>
        transaction((session) => {
          conflicts++;
          return work(session);
        }, options);
      let ended = false;
      const second = call('second').finally(() => {
        ended = true;
      });
      while (conflicts < 3) await new Promise((resolve) => setImmediate(resolve));
      expect([runs, ended]).toEqual([['first'], false]);
      open();
      expect([await first, await second]).toEqual([{ ran: true, value: undefined }, { ran: false }]);
      expect([runs, await ordersOf(connection).countDocuments()]).toEqual([['first'], 1]);
    });

    it('commits once though the answers of its commit are lost', async () => {
      const url = await mongodb.database('wire');
      const direct = await connected(url);
      await ordersOf(direct).createCollection();
      const wire = await openWire(url);
      closing.push(() => wire.close());
      const connection = await receiver(await connected(wire.url));
      wire.cutCommits('after', 3);
      expect(await once(connection, 'key', place(connection, 'x'))).toEqual({ ran: true, value: 'x' });
      expect([wire.cuts, await ordersOf(direct).countDocuments()]).toEqual([3, 1]);
    });
  });
});

mongodb.describe('The sweep of barriers on MongoDB', () => {
  it('removes received keys by their age, and barriers of steps whose job is gone', async () => {
    const connection = await connected();
    const effect = defineStep({
      name: 'effect',
      run: async (context) => {
        await once(connection, context, async () => {});
        throw new Error('not yet');
      },
    });
    const app = await anApp({ steps: [effect], use: [mongooseDb({ connection })] });
    await app.createJob({ gid: 'living' }).addStep(effect).start();
    await app.drain();
    await once(connection, 'old', async () => {});
    const row = (gid: string, op: 'once' | 'receive') =>
      ({ _id: `${gid}/000/${op}/x`, gid, op, reason: 'once', created_at: new Date() }) as const;
    await barriersIn(connection).insertMany(Array.from({ length: 600 }, (_, i) => row(`orphan-${i}`, 'once')));
    await barriersIn(connection).insertOne({ _id: 'message/00/msg/x', reason: 'msg', created_at: new Date() }); // its job's purge takes it
    await makeOlder(connection, 366);
    await barriersIn(connection).insertOne(row('young', 'once'));
    await makeOlder(connection, 31); // 'young' too: of a step it stays for a year
    const [provider] = app.resolve(DbProviders).all() as [MongooseDbProvider];
    await provider.sweep({ retentionMs: 30 * DAY_MS, hasJob: async (gid) => (await app.jobs.find(gid)) !== undefined }, silentLogger);
    expect((await effects(connection)).map(({ gid }) => gid)).toEqual(['living', 'young']);
    expect(await barriersIn(connection).countDocuments({ reason: 'msg' })).toBe(1);
  });
});
