import { afterEach, expect, it, jest } from '@jest/globals';
import { DbProviders, defineStep, silentLogger, unchecked } from '@stepping/core';
import { createTestStepping } from '@stepping/tm-local/testing';
import { type Dialect, dialectOf } from '@stepping/typeorm';
import type { DataSource } from 'typeorm';
import { once, typeormDb } from '../src/index.js';
import type { TypeormDbProvider } from '../src/typeorm-db-provider.js';
import { errorOf } from './support/apps.js';
import { mysqls, postgres, sqlite } from './support/databases.js';

const DAY_MS = 86_400_000;
const closing: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  jest.useRealTimers();
  for (const close of closing.splice(0).reverse()) await close();
});

const OLDER: Record<Dialect, (days: number) => string> = {
  postgres: (days) => `created_at - interval '${days} days'`,
  mysql: (days) => `created_at - interval ${days} day`,
  sqlite: (days) => `strftime('%Y-%m-%dT%H:%M:%fZ', created_at, '-${days} days')`,
};

for (const database of [sqlite, postgres, ...mysqls]) {
  const age = (dataSource: DataSource, days: number) =>
    dataSource.query(`update stepping_barrier set created_at = ${OLDER[dialectOf(dataSource)](days)}`);

  database.describe(`The sweep of barriers on ${database.name}`, () => {
    const setUp = async (barrierRetentionMs?: number) => {
      const dataSource = await database.open();
      closing.push(() => dataSource.destroy());
      const effect = defineStep({
        name: 'effect',
        args: unchecked<{ fails?: boolean }>(),
        run: async (context) => {
          await once(dataSource, context, async () => {});
          if (context.args.fails) throw new Error('not yet');
        },
      });
      const app = await createTestStepping({ steps: [effect], use: [typeormDb({ dataSource, barrierRetentionMs })] });
      closing.push(() => app.stop({ drainTimeoutMs: 0 }));
      const [provider] = app.resolve(DbProviders).all() as [TypeormDbProvider];
      const hasJob = async (gid: string) => (await app.jobs.find(gid)) !== undefined;
      const sweep = (days: number) => provider.sweep({ retentionMs: days * DAY_MS, hasJob }, silentLogger);
      const left = async (): Promise<string[]> =>
        (await dataSource.query('select op, gid from stepping_barrier order by op, gid')).map((row: any) =>
          row.op === 'receive' ? 'key' : row.gid,
        );
      return { dataSource, app, effect, sweep, left };
    };

    it('removes received keys by their age', async () => {
      const { dataSource, sweep, left } = await setUp();
      for (let i = 0; i < 3; i++) await once(dataSource, `old ${i}`, async () => {});
      await age(dataSource, 31);
      await once(dataSource, 'new', async () => {});
      await sweep(30);
      expect(await left()).toEqual(['key']);
      expect(await once(dataSource, 'new', async () => {})).toEqual({ ran: false });
      expect(await once(dataSource, 'old 1', async () => {})).toMatchObject({ ran: true });
    });

    it('leaves the barrier of a step whose job is there, however old, and takes one whose job is gone', async () => {
      const { dataSource, app, effect, sweep, left } = await setUp();
      await app.createJob({ gid: 'living' }).addStep(effect, { fails: true }).start();
      await app.drain();
      const copy = (gid: string, op: string) =>
        dataSource.query(
          `insert into stepping_barrier (trans_type, gid, branch_id, op, barrier_id, reason) select trans_type, '${gid}', branch_id, '${op}', barrier_id, reason from stepping_barrier where gid = 'living'`,
        );
      for (let i = 0; i < 3; i++) await copy(`orphan-${i}`, 'once');
      await copy('message', 'msg'); // of a transaction: its job's purge takes it
      await age(dataSource, 366);
      await copy('young', 'once');
      await age(dataSource, 31);
      await sweep(30);
      // Younger than a year: its job may be in a store that nobody here can ask.
      expect(await left()).toEqual(['message', 'living', 'young']);
    });

    it('takes many of them, in batches', async () => {
      const { dataSource, sweep, left } = await setUp();
      for (const op of ['once', 'receive']) {
        const numbers = 'with recursive n(i) as (select 1 union all select i + 1 from n where i < 900)';
        const row = `select 'msg', ${dialectOf(dataSource) === 'mysql' ? "concat('gid-', i)" : "'gid-' || i"}, '00', '${op}', 'x', 'once' from n`;
        await dataSource.query(`insert into stepping_barrier (trans_type, gid, branch_id, op, barrier_id, reason) ${numbers} ${row}`);
      }
      await age(dataSource, 366);
      await sweep(30);
      expect(await left()).toEqual([]);
    });
  });
}

sqlite.describe('The sweep of barriers', () => {
  it('is made a minute after start() and then every hour, by the age that was asked for', async () => {
    const dataSource = await sqlite.open();
    closing.push(() => dataSource.destroy());
    jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate', 'queueMicrotask', 'performance', 'Date', 'clearImmediate'] });
    const app = await createTestStepping({ use: [typeormDb({ dataSource, barrierRetentionMs: 2 * DAY_MS })] });
    closing.push(() => app.stop({ drainTimeoutMs: 0 }));
    const rows = async (): Promise<number> => (await dataSource.query('select * from stepping_barrier')).length;
    for (const waitMs of [60_000, 3_600_000]) {
      await once(dataSource, 'key', async () => {});
      await age(dataSource, 3);
      await jest.advanceTimersByTimeAsync(waitMs - 1);
      expect(await rows()).toBe(1);
      await jest.advanceTimersByTimeAsync(1);
      while ((await rows()) > 0) await new Promise((resolve) => setImmediate(resolve));
      await new Promise((resolve) => setImmediate(resolve));
    }
  });

  it('refuses an age below an hour', async () => {
    const dataSource = await sqlite.open();
    closing.push(() => dataSource.destroy());
    expect(await errorOf(() => typeormDb({ dataSource, barrierRetentionMs: 60_000 }))).toMatchObject({ code: 'CONFIG_INVALID' });
  });

  const age = (dataSource: DataSource, days: number) =>
    dataSource.query(`update stepping_barrier set created_at = strftime('%Y-%m-%dT%H:%M:%fZ', created_at, '-${days} days')`);
});
