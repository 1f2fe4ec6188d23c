import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, expect, it } from '@jest/globals';
import { defineStep, type JobInfo, permanent, type RetryPolicy, type StepContext, unchecked } from '@stepping/core';
import { runStep } from '@stepping/core/testing';
import { nodeArgsFor } from '@stepping/test-services';
import { createTestStepping, type TestStepping } from '@stepping/tm-local/testing';
import { type Dialect, dialectOf } from '@stepping/typeorm';
import type { DataSource } from 'typeorm';
import { inTransaction, once, typeormDb } from '../src/index.js';
import { errorOf, started } from './support/apps.js';
import { mysqls, Order, postgres, sqlite } from './support/databases.js';
import { atEnd, closeAll, opened, throughWire } from './support/opened.js';

const LEASE_MS = 10_000;

afterEach(closeAll);

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
  atEnd(() => app.stop({ drainTimeoutMs: 0 }));
  return app;
}

const orders = (dataSource: DataSource) => dataSource.getRepository(Order).count();
const barriers = async (dataSource: DataSource, op = 'once'): Promise<number> =>
  (await dataSource.query(`select * from stepping_barrier where op = '${op}'`)).length;

const OLDER: Record<Dialect, (days: number) => string> = {
  postgres: (days) => `update stepping_barrier set created_at = created_at - interval '${days} days'`,
  mysql: (days) => `update stepping_barrier set created_at = created_at - interval ${days} day`,
  sqlite: (days) => `update stepping_barrier set created_at = strftime('%Y-%m-%dT%H:%M:%fZ', created_at, '-${days} days')`,
};

for (const database of [sqlite, postgres, ...mysqls]) {
  const makeOlder = (dataSource: DataSource, days: number) => dataSource.query(OLDER[dialectOf(dataSource)](days));

  database.describe(`once on ${database.name}`, () => {
    /** An app with one step, which places an order once. */
    const setUp = async (bodies: (orderOnce: Body, dataSource: DataSource) => readonly Body[], retry?: RetryPolicy) => {
      const dataSource = await opened(database.open());
      const answers: unknown[] = [];
      const orderOnce: Body = async (context) => {
        const answer = await once(
          dataSource,
          context,
          async (manager) => (await manager.save(Order, { what: context.idempotencyKey })).what,
        );
        answers.push(answer);
        return answer;
      };
      const step = aStep('order', bodies(orderOnce, dataSource), retry);
      const app = await anApp({ steps: [step], use: [typeormDb({ dataSource })] });
      const run = async (gid: string, steps = 1): Promise<JobInfo> => {
        const job = app.createJob({ gid });
        for (let i = 0; i < steps; i++) job.addStep(step, { n: i });
        await job.start();
        await app.drain();
        return (await app.jobs.find(gid)) as JobInfo;
      };
      const tryAgain = async () => {
        await app.clock.advance(60_000);
        await app.drain();
      };
      return { dataSource, app, step, answers, run, tryAgain, orders: () => orders(dataSource) };
    };

    it('runs, and answers what its work returned', async () => {
      const t = await setUp((orderOnce) => [orderOnce]);
      expect(await t.run('job')).toMatchObject({ status: 'succeeded' });
      expect(t.answers).toEqual([{ ran: true, value: 'job/000' }]);
      expect(await t.orders()).toBe(1);
    });

    it('runs nothing when the step is repeated after its commit', async () => {
      const t = await setUp((orderOnce) => [
        async (context) => {
          await orderOnce(context);
          throw new Error('after the commit');
        },
        orderOnce,
      ]);
      expect(await t.run('job')).toMatchObject({ status: 'submitted', attempt: 2 });
      await t.tryAgain();
      expect(t.answers).toEqual([{ ran: true, value: 'job/000' }, { ran: false }]);
      expect(await t.orders()).toBe(1);
      expect(await t.app.jobs.find('job')).toMatchObject({ status: 'succeeded' });
    });

    it('runs again when its work threw, which passes as it is', async () => {
      const boom = new Error('boom');
      const seen: unknown[] = [];
      const t = await setUp((orderOnce, dataSource) => [
        async (context) => {
          const work = once(dataSource, context, async (manager) => {
            await manager.save(Order, { what: 'undone' });
            throw boom;
          });
          seen.push(await errorOf(work));
          throw boom;
        },
        orderOnce,
      ]);
      await t.run('job');
      expect(seen[0]).toBe(boom);
      expect(await t.orders()).toBe(0);
      await t.tryAgain();
      expect(t.answers).toEqual([{ ran: true, value: 'job/000' }]);
      expect(await t.orders()).toBe(1);
    });

    it('runs for each of two positions of one step in a job', async () => {
      const t = await setUp((orderOnce) => [orderOnce]);
      await t.run('job', 2);
      expect(t.answers).toEqual([
        { ran: true, value: 'job/000' },
        { ran: true, value: 'job/001' },
      ]);
    });

    it('tells several in one step apart by their names, and refuses a second one without', async () => {
      const t = await setUp((orderOnce, dataSource) => [
        async (context) => {
          await orderOnce(context);
          for (const name of ['first', 'second'])
            await once(dataSource, context, (manager) => manager.save(Order, { what: name }), { name });
          expect(await errorOf(orderOnce(context))).toMatchObject({
            code: 'CONFIG_INVALID',
            message: expect.stringMatching(/name: 'refund'/),
          });
          const beside = [1, 2].map(() => once(dataSource, context, async () => {}, { name: 'beside' }));
          const [first, second] = await Promise.allSettled(beside);
          expect([first?.status, second?.status].sort()).toEqual(['fulfilled', 'rejected']);
        },
      ]);
      expect(await t.run('job')).toMatchObject({ status: 'succeeded' });
      expect(await t.orders()).toBe(3);
    });

    it('is still once after a redrive', async () => {
      const t = await setUp((orderOnce) => [
        async (context) => {
          await orderOnce(context);
          throw permanent('not like this');
        },
        orderOnce,
      ]);
      expect(await t.run('job')).toMatchObject({ status: 'failed' });
      await t.app.jobs.redrive('job');
      await t.app.drain();
      expect(t.answers.at(-1)).toEqual({ ran: false });
      expect(await t.orders()).toBe(1);
    });

    it('is once though the worker went silent between its commit and the checkpoint', async () => {
      const t = await setUp((orderOnce) => [
        async (context) => {
          await orderOnce(context);
          await new Promise(() => {});
        },
        orderOnce,
      ]);
      await t.app.createJob({ gid: 'job' }).addStep(t.step).start();
      void t.app.drain();
      while (t.answers.length === 0) await new Promise((resolve) => setImmediate(resolve));
      await t.app.clock.advance(LEASE_MS + 1);
      await t.app.drain();
      expect(t.answers.at(-1)).toEqual({ ran: false });
      expect(await t.orders()).toBe(1);
    });

    it('is once though the process is killed between its commit and the checkpoint', async () => {
      const dataSource = await opened(database.open());
      const { entities: _, synchronize: __, ...options } = dataSource.options as any;
      const start = (then: string) => {
        const script = join(import.meta.dirname, 'support/once-process.ts');
        const child = spawn(process.execPath, [...nodeArgsFor(script), JSON.stringify(options), then], {
          stdio: ['ignore', 'pipe', 'inherit'],
        });
        atEnd(async () => void child.kill('SIGKILL'));
        return { child, lines: createInterface(child.stdout)[Symbol.asyncIterator]() };
      };
      const first = start('hangs');
      expect((await first.lines.next()).value).toBe('committed');
      first.child.kill('SIGKILL');
      const second = start('goes-on');
      expect([(await second.lines.next()).value, (await second.lines.next()).value]).toEqual(['was committed before', 'succeeded']);
      expect(await orders(dataSource)).toBe(1);
    }, 60_000);

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

      await makeOlder(t.dataSource, 1);
      await t.app.clock.advance(86_400_000);
      expect(await t.app.jobs.purge({ finishedBefore: t.app.clock.now() })).toEqual({ purged: 1 });
      expect(await barriers(t.dataSource)).toBe(0);
      wakeUp();
      expect(await errors[0]).toMatchObject({ code: 'LEASE_LOST' });
      expect([await t.orders(), await barriers(t.dataSource)]).toEqual([1, 0]);
    });

    it('runs for a job that was started anew after its gid was purged, also where its former life left a barrier behind', async () => {
      const t = await setUp((orderOnce) => [
        async (context) => {
          await orderOnce(context);
          await new Promise(() => {}); // no checkpoint says where its barrier is
        },
        orderOnce,
      ]);
      await t.app.createJob({ gid: 'job' }).addStep(t.step).start();
      void t.app.drain();
      while (t.answers.length === 0) await new Promise((resolve) => setImmediate(resolve));
      await t.app.jobs.cancel('job');
      await t.app.clock.advance(86_400_000);
      await makeOlder(t.dataSource, 1);
      await t.app.jobs.purge({ finishedBefore: t.app.clock.now() });
      expect([await t.app.jobs.find('job'), await barriers(t.dataSource)]).toEqual([undefined, 1]);
      await t.run('job');
      expect(t.answers).toEqual([
        { ran: true, value: 'job/000' },
        { ran: true, value: 'job/000' },
      ]);
    });

    it('has its barriers purged with the job in every database that its steps used', async () => {
      const [first, second] = [await opened(database.open()), await opened(database.open())];
      const step = aStep('order', [
        async (context) => {
          await once(first, context, (manager) => manager.save(Order, { what: 'x' }));
          await once(second, context, (manager) => manager.save(Order, { what: 'x' }));
        },
      ]);
      const app = await anApp({
        steps: [step],
        use: [typeormDb({ dataSource: first }), typeormDb({ name: 'second', dataSource: second })],
      });
      for (const gid of ['old', 'new']) {
        await app.createJob({ gid }).addStep(step).start();
        await app.drain();
        if (gid === 'old') await app.clock.advance(86_400_000);
      }
      for (const dataSource of [first, second]) await makeOlder(dataSource, 1);
      expect(await app.jobs.purge({ finishedBefore: new Date(app.clock.now().getTime() - 3_600_000) })).toEqual({ purged: 1 });
      for (const dataSource of [first, second]) {
        expect(await dataSource.query('select gid from stepping_barrier')).toEqual([{ gid: 'new' }]);
      }
    });

    it('refuses a database that the app does not know', async () => {
      const stranger = await opened(database.open());
      const seen: any[] = [];
      const t = await setUp(() => [async (context) => void seen.push(await errorOf(once(stranger, context, async () => {})))]);
      await t.run('job');
      expect(seen).toEqual([expect.objectContaining({ code: 'DB_UNKNOWN' })]);
      expect(await errorOf(once(stranger, 'a key', async () => {}))).toMatchObject({ code: 'DB_UNKNOWN' });
    });

    it('works under runStep, without an app', async () => {
      const dataSource = await opened(database.open());
      const step = aStep('order', [async (context) => once(dataSource, context, (manager) => manager.save(Order, { what: 'x' }))]);
      expect(await runStep(step, { gid: 'a' })).toMatchObject({ ran: true });
      expect(await runStep(step, { gid: 'a' })).toEqual({ ran: false });
      expect(await runStep(step, { gid: 'a', idempotencyKey: 'a/001' })).toMatchObject({ ran: true });
      expect(await orders(dataSource)).toBe(2);
    });

    it('takes the context itself, and says so', async () => {
      const seen: any[] = [];
      const t = await setUp((_, dataSource) => [
        async (context) => void seen.push(await errorOf(once(dataSource, { ...context }, async () => {}))),
      ]);
      await t.run('job');
      expect(seen).toEqual([expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringMatching(/not a copy/) })]);
    });

    describe('with a transaction that the caller holds', () => {
      it('joins it: what was done, and that it was done, commits or rolls back with it', async () => {
        const t = await setUp((_, dataSource) => [
          async (context) => {
            const runner = dataSource.createQueryRunner();
            for (const end of ['rollbackTransaction', 'commitTransaction', 'commitTransaction'] as const) {
              await runner.startTransaction();
              t.answers.push(await once(runner, context, async (manager) => void (await manager.save(Order, { what: end }))));
              await runner[end]();
            }
            await runner.release();
          },
        ]);
        expect(await t.run('job')).toMatchObject({ status: 'succeeded' });
        expect(t.answers).toEqual([{ ran: true }, { ran: true }, { ran: false }]);
        expect(await t.orders()).toBe(1);
      });

      it('undoes what a work that throws has written, and leaves the transaction as it was', async () => {
        const t = await setUp((_, dataSource) => [
          async (context) => {
            const runner = dataSource.createQueryRunner();
            await runner.startTransaction();
            await runner.manager.save(Order, { what: 'before' });
            const boom = new Error('boom');
            const failed = once(runner, context, async (manager) => {
              await manager.save(Order, { what: 'undone' });
              await manager.query('select * from nowhere').catch(() => {});
              throw boom;
            });
            expect(await errorOf(failed)).toBe(boom);
            t.answers.push(await once(runner, context, async (manager) => (await manager.save(Order, { what: 'after' })).what));
            await runner.commitTransaction();
            await runner.release();
          },
        ]);
        expect(await t.run('job')).toMatchObject({ status: 'succeeded' });
        expect((await t.dataSource.getRepository(Order).find({ order: { id: 1 } })).map(({ what }) => what)).toEqual(['before', 'after']);
      });

      it('refuses a second one without a name in it, whose work would be skipped without a word', async () => {
        const t = await setUp((_, dataSource) => [
          async (context) => {
            const runner = dataSource.createQueryRunner();
            await runner.startTransaction();
            await once(runner, context, async () => {});
            expect(await errorOf(once(runner, context, async () => {}))).toMatchObject({ code: 'CONFIG_INVALID' });
            t.answers.push(await once(runner, context, async () => {}, { name: 'second' }));
            await runner.commitTransaction();
            await runner.release();
          },
        ]);
        expect(await t.run('job')).toMatchObject({ status: 'succeeded' });
        expect(t.answers).toEqual([{ ran: true }]);
      });

      it('needs one that is open, and not a savepoint', async () => {
        const t = await setUp((_, dataSource) => [
          async (context) => {
            const runner = dataSource.createQueryRunner();
            expect(await errorOf(once(runner, context, async () => {}))).toMatchObject({ code: 'TX_NOT_ACTIVE' });
            await runner.startTransaction();
            await runner.startTransaction();
            expect(await errorOf(once(runner, context, async () => {}))).toMatchObject({ code: 'TX_NESTED' });
            await runner.rollbackTransaction();
            await runner.rollbackTransaction();
            await runner.release();
          },
        ]);
        expect(await t.run('job')).toMatchObject({ status: 'succeeded' });
      });
    });

    describe('for a received key', () => {
      const receiver = async () => {
        const dataSource = await opened(database.open());
        const stepping = await started({ use: [typeormDb({ dataSource })] });
        return { dataSource, stepping };
      };

      it('runs once, whatever text the key is', async () => {
        const { dataSource } = await receiver();
        for (const key of ['job/000', 'O’Brien; drop table "order"', 'x'.repeat(10_000)]) {
          const receive = () => once(dataSource, key, async (manager) => (await manager.save(Order, { what: 'x' })).what);
          expect(await receive()).toEqual({ ran: true, value: 'x' });
          expect(await receive()).toEqual({ ran: false });
          expect(await once(dataSource, key, async () => 'other', { name: 'other' })).toEqual({ ran: true, value: 'other' });
        }
        expect(await orders(dataSource)).toBe(3);
        expect(await errorOf(once(dataSource, '', async () => {}))).toMatchObject({ code: 'CONFIG_INVALID' });
      });

      it('of two at the same time runs one, and the other waits for it', async () => {
        const { dataSource } = await receiver();
        const { promise: gate, resolve: open } = Promise.withResolvers<void>();
        const runs: string[] = [];
        const call = (name: string) =>
          once(dataSource, 'key', async (manager) => {
            runs.push(name);
            await gate;
            await manager.save(Order, { what: name });
          });
        const first = call('first');
        while (runs.length === 0) await new Promise((resolve) => setImmediate(resolve));
        let ended = false;
        const second = call('second').finally(() => {
          ended = true;
        });
        if (database === postgres) await untilOneWaits(dataSource);
        else for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
        expect([runs, ended]).toEqual([['first'], false]);
        open();
        expect([await first, await second]).toEqual([{ ran: true, value: undefined }, { ran: false }]);
        expect([runs, await orders(dataSource)]).toEqual([['first'], 1]);
      });
    });
  });
}

postgres.describe('once on PostgreSQL, in particular', () => {
  it('does not know of a commit whose answer was lost, and a repeat finds it out', async () => {
    const { direct, wire, dataSource } = await throughWire(postgres);
    await started({ use: [typeormDb({ dataSource })] });
    const receive = (key: string) => once(dataSource, key, async (manager) => void (await manager.save(Order, { what: key })));
    for (const [how, ran] of [
      ['before', true],
      ['after', false],
    ] as const) {
      wire.cutNextCommit(how);
      expect(await errorOf(receive(how))).toMatchObject({ code: 'COMMIT_OUTCOME_UNKNOWN', message: expect.stringMatching(/same key/) });
      expect(await receive(how)).toMatchObject({ ran });
    }
    expect((await direct.getRepository(Order).find()).map(({ what }) => what)).toEqual(['before', 'after']);
  });

  it('lets a serialization failure pass unwrapped, after which a repeat goes through', async () => {
    const dataSource = await opened(postgres.open({ isolationLevel: 'SERIALIZABLE' }));
    await started({ use: [typeormDb({ dataSource })] });
    const { promise: bothRead, resolve } = Promise.withResolvers<void>();
    let reading = 0;
    const receive = (key: string) =>
      once(dataSource, key, async (manager) => {
        const count = await manager.count(Order);
        if (++reading === 2) resolve();
        await bothRead;
        await manager.save(Order, { what: `${key} ${count}` });
      });
    const [a, b] = await Promise.allSettled([receive('a'), receive('b')]);
    const failed = [a, b].filter((settled) => settled.status === 'rejected');
    expect(failed).toMatchObject([{ reason: { driverError: { code: '40001' } } }]);
    expect([await receive('a'), await receive('b')].filter(({ ran }) => ran)).toHaveLength(1);
    expect(await orders(dataSource)).toBe(2);
  });
});

sqlite.describe('once on SQLite, in particular', () => {
  it('refuses to wait for a transaction of its own caller on the same file', async () => {
    const dataSource = await opened(sqlite.open());
    const stepping = await started({ use: [typeormDb({ dataSource })] });
    await inTransaction(stepping, dataSource, async ({ queryRunner }) => {
      expect(await errorOf(once(dataSource, 'key', async () => {}))).toMatchObject({ code: 'TX_NESTED' });
      expect(await once(queryRunner, 'key', async () => 1)).toEqual({ ran: true, value: 1 });
    });
    expect(await once(dataSource, 'key', async () => 1)).toEqual({ ran: false });
  });
});

async function untilOneWaits(dataSource: DataSource): Promise<void> {
  const waiting =
    'select 1 from pg_locks where not granted and pid in (select pid from pg_stat_activity where datname = current_database())';
  while ((await dataSource.query(waiting)).length === 0);
}
