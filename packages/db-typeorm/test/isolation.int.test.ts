import { afterEach, expect, it } from '@jest/globals';
import { type JobBuilder, type Stepping, SteppingError } from '@stepping/core';
import { localTm } from '@stepping/tm-local';
import { typeormStore } from '@stepping/tm-local-typeorm';
import type { DataSource, EntityManager } from 'typeorm';
import { type IsolationLevel, inTransaction, typeormDb } from '../src/index.js';
import { errorOf, sendMail, started, stopApps } from './support/apps.js';
import { mysqls, Order, postgres, sqlite, type TestDatabase } from './support/databases.js';

interface Isolated {
  readonly database: TestDatabase;
  readonly level: IsolationLevel | undefined;
  /** What a transaction gets that writes what another one wrote since it read; undefined: it waits, and writes; `'depends'`: on the server's release and settings. */
  readonly conflict?: object | 'depends';
  /** What one of two gets that read what the other one writes; undefined: both commit. */
  readonly skew?: object;
  /** Undefined: one transaction at a time. */
  readonly deadlock?: object;
  /** Reads lock what they see, so nobody can change it meanwhile. */
  readonly readsLock?: boolean;
}

const serialization = { code: '40001' };
const deadlock = { code: '40P01' };
const mysqlDeadlock = { errno: 1213 };
const ISOLATED: readonly Isolated[] = [
  { database: sqlite, level: undefined },
  { database: postgres, level: 'READ COMMITTED', deadlock },
  { database: postgres, level: 'REPEATABLE READ', conflict: serialization, deadlock },
  { database: postgres, level: 'SERIALIZABLE', conflict: serialization, skew: serialization, deadlock },
  ...mysqls.flatMap((database): Isolated[] => [
    { database, level: 'READ COMMITTED', deadlock: mysqlDeadlock },
    { database, level: 'REPEATABLE READ', conflict: 'depends', deadlock: mysqlDeadlock },
    { database, level: 'SERIALIZABLE', conflict: mysqlDeadlock, skew: mysqlDeadlock, deadlock: mysqlDeadlock, readsLock: true },
  ]),
];

const opened: DataSource[] = [];

afterEach(async () => {
  await stopApps();
  for (const dataSource of opened.splice(0)) await dataSource.destroy();
});

for (const { database, level, conflict, skew, deadlock, readsLock } of ISOLATED) {
  for (const jobsIn of ['the same database', 'another database'] as const) {
    const setUp = async () => {
      const dataSource = await database.open();
      opened.push(dataSource);
      const jobs = jobsIn === 'the same database' ? dataSource : await sqlite.open();
      if (jobs !== dataSource) opened.push(jobs);
      const stepping: Stepping = await started({
        tm: localTm({ store: typeormStore({ dataSource: jobs }), prepareTimeoutMs: 600_000 }),
        use: [typeormDb({ dataSource })],
      });
      await dataSource.getRepository(Order).insert([{ what: 'one' }, { what: 'two' }]);
      const place = (gid: string, body: (manager: EntityManager, job: JobBuilder) => Promise<unknown>) =>
        inTransaction(stepping, { dataSource, gid, isolationLevel: level }, async ({ manager, job }) => {
          job.addStep(sendMail, { order: 1 });
          await body(manager, job);
        });
      return {
        stepping,
        place,
        orders: async () => (await dataSource.getRepository(Order).find({ order: { id: 'asc' } })).map(({ what }) => what),
        statusOf: async (gid: string) => (await stepping.jobs.find(gid))?.status,
      };
    };

    database.describe(`on ${database.name}${level ? ` at ${level}` : ''}, with the jobs in ${jobsIn}`, () => {
      it('a transaction commits with its job, and a second one of the same gid is rolled back', async () => {
        const { place, orders, statusOf } = await setUp();
        await place('gid', (manager) => manager.insert(Order, { what: 'three' }));
        const again = await errorOf(place('gid', (manager) => manager.insert(Order, { what: 'four' })));
        expect(again).toMatchObject({ code: 'JOB_DUPLICATE' });
        expect([await statusOf('gid'), await orders()]).toEqual(['submitted', ['one', 'two', 'three']]);
      });

      it('of many transactions of one gid at once, one commits, and all others are told so in the end', async () => {
        const { place, orders, stepping } = await setUp();
        const all = Array.from({ length: 8 }, (_, i) =>
          retrying(() => place('gid', (manager) => manager.insert(Order, { what: `order ${i}` }))),
        );
        const outcomes = await Promise.allSettled(all);
        expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
        for (const outcome of outcomes) {
          if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'JOB_DUPLICATE' });
        }
        expect(await orders()).toHaveLength(3);
        expect(await stepping.jobs.stats()).toMatchObject({ submitted: 1, prepared: 0 });
      });

      if (!deadlock) return;

      it('who writes what another one wrote meanwhile is told by the database itself, and a retry of the same gid goes through', async () => {
        const { place, orders, statusOf } = await setUp();
        const bothHaveRead = meeting(2);
        const append = (gid: string) =>
          place(gid, async (manager) => {
            const { what } = await manager.findOneByOrFail(Order, { id: 1 });
            await bothHaveRead();
            await manager.update(Order, 1, { what: `${what} ${gid}` });
          });
        const errors = await retryAll([() => append('a'), () => append('b')]);
        if (conflict === undefined) expect(errors).toEqual([]);
        else if (conflict !== 'depends') {
          expect(errors).toMatchObject([{ driverError: conflict }]);
          expect(await orders()).toEqual([expect.stringMatching(/^one (a b|b a)$/), 'two']);
        }
        expect([await statusOf('a'), await statusOf('b')]).toEqual(['submitted', 'submitted']);
      });

      it('of two that each read what the other one writes, one is told at its commit at the latest, and a retry of the same gid goes through', async () => {
        const { place, statusOf, stepping } = await setUp();
        const bothHaveRead = meeting(2);
        const skewed = (gid: string, id: number) =>
          place(gid, async (manager) => {
            await manager.find(Order);
            await bothHaveRead();
            await manager.update(Order, id, { what: gid });
          });
        const errors = await retryAll([() => skewed('a', 1), () => skewed('b', 2)]);
        if (skew) expect(errors).toMatchObject([{ driverError: skew }]);
        else expect(errors).toEqual([]);
        expect([await statusOf('a'), await statusOf('b')]).toEqual(['submitted', 'submitted']);
        expect(await stepping.jobs.stats()).toMatchObject({ submitted: 2, prepared: 0, 'rolled-back': 0 });
      });

      it('a deadlock is told to one of the two by the database itself, and a retry of the same gid goes through', async () => {
        const { place, statusOf, orders } = await setUp();
        const bothHaveOne = meeting(2);
        const crossing = (gid: string, first: number, second: number) =>
          place(gid, async (manager) => {
            await manager.update(Order, first, { what: gid });
            await bothHaveOne();
            await manager.update(Order, second, { what: gid });
          });
        const errors = await retryAll([() => crossing('a', 1, 2), () => crossing('b', 2, 1)]);
        // Its retry may meet the other one once more, in another way.
        expect(errors[0]).toMatchObject({ driverError: deadlock });
        expect([await statusOf('a'), await statusOf('b')]).toEqual(['submitted', 'submitted']);
        expect(new Set(await orders()).size).toBe(1);
      });

      if (readsLock) return;

      it('a gid that another transaction used since this one began is a duplicate, at once or by a retry', async () => {
        const { place, orders } = await setUp();
        let first = true;
        const again = retrying(() =>
          place('gid', async (manager) => {
            await manager.find(Order); // from here on it sees nothing newer, where the level says so
            if (first) await place('gid', (other) => other.insert(Order, { what: 'three' }));
            first = false;
            await manager.insert(Order, { what: 'four' });
          }),
        );
        expect(await errorOf(again)).toMatchObject({ code: 'JOB_DUPLICATE' });
        expect(await orders()).toEqual(['one', 'two', 'three']);
      });
    });
  }
}

/** Resolves for all once so many have come; nobody waits a second time. */
function meeting(size: number): () => Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  let come = 0;
  return () => {
    if (++come >= size) resolve();
    return promise;
  };
}

/** As a user does it: calls again for what their own database says, and for a gid that is in doubt. `errors`: what the database said. */
async function retrying(work: () => Promise<unknown>, errors: unknown[] = []): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await work();
      return;
    } catch (error) {
      if (attempt === 100) throw error;
      if (SteppingError.is(error, 'JOB_IN_DOUBT')) {
        await new Promise((resolve) => setTimeout(resolve, 10));
        continue;
      }
      if (SteppingError.is(error) || !(error as { driverError?: unknown }).driverError) throw error;
      errors.push(error);
    }
  }
}

async function retryAll(works: readonly (() => Promise<unknown>)[]): Promise<unknown[]> {
  const errors: unknown[] = [];
  await Promise.all(works.map((work) => retrying(work, errors)));
  return errors;
}
