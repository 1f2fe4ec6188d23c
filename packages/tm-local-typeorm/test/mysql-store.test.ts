import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from '@jest/globals';
import { testService } from '@stepping/test-services';
import { type ClaimedJob, type EnlistedStore, type Save, type TransactionStore, WriteRefused } from '@stepping/tm-local';
import { quoteName } from '@stepping/typeorm';
import { DataSource, type QueryRunner } from 'typeorm';
import { mysqlStatements } from '../src/mysql/mysql-statements.js';
import { aClaim, aJob, openStore } from './a-store.js';
import { type TcpProxy, tcpProxy } from './tcp-proxy.js';

for (const service of [await testService('mariadb'), await testService('mysql')]) {
  service.describe(`typeormStore on ${service.name}`, () => {
    let url: string;
    let dataSource: DataSource;
    let store: TransactionStore;

    beforeAll(async () => {
      url = await service.database();
      dataSource = await new DataSource({ type: 'mariadb', url }).initialize();
      store = openStore({ dataSource });
      await store.start();
    });

    beforeEach(async () => {
      await dataSource.query('delete from stepping_job');
    });

    afterAll(async () => {
      await store.stop();
      await dataSource.destroy();
    });

    const aClaimedJob = async (gid: string): Promise<ClaimedJob> => {
      await store.create([aJob({ gid })]);
      const [claimed] = await store.claimDue(aClaim());
      return claimed as ClaimedJob;
    };
    const inTransaction = async <R>(
      work: (runner: QueryRunner, enlisted: EnlistedStore) => Promise<R>,
      level: 'READ COMMITTED' | 'REPEATABLE READ' = 'REPEATABLE READ',
      users = dataSource,
      jobs = store,
    ): Promise<R> => {
      const runner = users.createQueryRunner();
      await runner.startTransaction(level);
      try {
        const result = await work(runner, jobs.enlist?.({ kind: 'typeorm', handle: runner }) as EnlistedStore);
        if (runner.isTransactionActive) await runner.commitTransaction();
        return result;
      } finally {
        if (runner.isTransactionActive) await runner.rollbackTransaction();
        await runner.release();
      }
    };

    it('finds what is due without reading what is finished, and each job by its key', async () => {
      await dataSource.query(FINISHED);
      for (let rows = 1; rows < 60_000; rows *= 2) await dataSource.query(DOUBLE);
      await store.create(Array.from({ length: 100 }, (_, i) => aJob({ gid: `due-${i}` })));
      const sql = mysqlStatements(quoteName('mysql', 'stepping_job'), quoteName('mysql', 'stepping_job_due'));
      const explain = async (statement: string, values: unknown[]): Promise<{ table: string; key: string | null; rows: string }[]> =>
        (await dataSource.query(`explain ${statement}`, values)).filter(({ table }: { table: string }) => /^(j|stepping_job)$/.test(table));

      for (const analyzed of [false, true]) {
        if (analyzed) await dataSource.query('analyze table stepping_job');
        const due = [
          ...(await explain(sql.selectDue, ['default', 100])),
          ...(await explain(sql.selectNextDue(2), ['default', 'default', 'other', 'other'])),
        ];
        expect(due.map(({ key }) => key)).toEqual(['stepping_job_due', 'stepping_job_due', 'stepping_job_due']);
        expect(Math.max(...due.map(({ rows }) => Number(rows)))).toBeLessThan(1_000);
        const gids = JSON.stringify([['due-1', 1, 1, 1, 1, 0, null, null, null, null]]);
        for (const [statement, values] of [
          [sql.saveJobs, [gids]],
          [sql.saveJobsWithTexts, [gids]],
          [sql.extendLeases, [gids, 1]],
          [sql.lockOwners, [gids]],
          [sql.claimJobs, [1, ['due-1', 'due-2']]],
          [sql.deletePurged, [gids]],
        ] as const) {
          expect((await explain(statement, [...values])).map(({ key }) => key)).toEqual(['PRIMARY']);
        }
      }
    }, 60_000);

    it('does not wait for rows of other jobs, however few there are', async () => {
      await store.create(['a', 'b', 'c'].map((gid) => aJob({ gid })));
      const jobs = await store.claimDue(aClaim());
      const [a, b] = ['a', 'b'].map((gid) => jobs.find((job) => job.gid === gid) as ClaimedJob) as [ClaimedJob, ClaimedJob];
      await inTransaction(async (runner) => {
        await runner.query(`select 1 from stepping_job where gid = 'c' for update`);
        expect(await store.save([checkpoint(a, 1), checkpoint(b, 1)])).toEqual(new Set(['a', 'b']));
        expect(await store.extend([a, b], 60_000)).toEqual(new Set(['a', 'b']));
        await store.create([aJob({ gid: 'd' })]);
        expect((await store.claimDue(aClaim())).map(({ gid }) => gid)).toEqual(['d']);
        await store.change([
          {
            gid: 'd',
            instance: undefined,
            from: ['submitted'],
            to: 'cancelled',
            queue: undefined,
            dueInMs: 0,
            held: false,
            error: undefined,
          },
        ]);
        expect((await store.startPurge({ finishedMsAgo: 0, failedMsAgo: 0, limit: 9 })).map(({ gid }) => gid)).toEqual(['d']);
      });
    });

    it('says exactly which of a batch were written when some were not, also of those that leave its hands', async () => {
      await store.create(['a', 'b', 'c', 'd'].map((gid) => aJob({ gid })));
      const jobs = await store.claimDue(aClaim());
      const of = (gid: string) => jobs.find((job) => job.gid === gid) as ClaimedJob;
      await dataSource.query(`update stepping_job set due_at = utc_timestamp(6) - interval 1 hour where gid in ('a', 'b')`);
      await store.claimDue(aClaim()); // a rival has two of them now
      // After a retry of ours they would look just the same but for when they are due.
      const retry = (gid: string) => ({ ...checkpoint(of(gid), 0), giveUp: true, dueInMs: 5_000 });
      expect(await store.save([retry('a'), checkpoint(of('b'), 1), retry('c'), checkpoint(of('d'), 1)])).toEqual(new Set(['c', 'd']));
      expect(await store.find('a')).toMatchObject({ lease: of('a').lease + 1, held: true });
      expect(await store.find('c')).toMatchObject({ lease: of('c').lease + 1, held: false });
    });

    it('starts a gid that exists in a transaction that looked at the table before (REPEATABLE READ)', async () => {
      const look = (runner: QueryRunner) => runner.query('select count(*) from stepping_job');
      await inTransaction(async (runner, enlisted) => {
        await look(runner);
        await store.create([aJob({ gid: 'taken' })]);
        expect(await enlisted.create(aJob({ gid: 'taken', instance: 'mine' }))).toEqual({ outcome: 'duplicate', status: 'submitted' });
        await store.resolve('dropped', 'of-another');
        expect(await enlisted.create(aJob({ gid: 'dropped', instance: 'mine' }))).toMatchObject({ outcome: 'stored' });
      });
      expect(await store.find('dropped')).toMatchObject({ instance: 'mine', status: 'submitted' });
    });

    it('is not told anything by the settings of the connection of the user', async () => {
      const users = await new DataSource({
        type: 'mysql',
        url,
        charset: 'latin1',
        timezone: '+09:00',
        flags: ['-FOUND_ROWS'],
      } as never).initialize();
      const jobs = openStore({ dataSource: users });
      await jobs.start();
      const steps = JSON.stringify({ v: 1, steps: [{ n: 'mail', a: `it's "☃" \\ 🚚` }] });
      for (const [gid, mode] of [
        ['a', "sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'"],
        ['b', "sql_mode = '', time_zone = '+09:00'"],
      ] as const) {
        const before = Date.now();
        const runner = users.createQueryRunner();
        await runner.query(`set session ${mode}`);
        await runner.startTransaction();
        expect(await jobs.enlist?.({ kind: 'typeorm', handle: runner })?.create(aJob({ gid, steps, tenant: 'ö☃' }))).toMatchObject({
          outcome: 'stored',
        });
        await runner.commitTransaction();
        await runner.release();
        const row = await store.find(gid);
        expect(row).toMatchObject({ steps, tenant: 'ö☃' });
        expect(Math.abs((row?.createdAt.getTime() ?? 0) - before)).toBeLessThan(60_000);
      }
      expect((await jobs.claimDue(aClaim())).map(({ gid }) => gid).sort()).toEqual(['a', 'b']);
      expect(await jobs.save([checkpoint({ gid: 'a', lease: 2 }, 1)])).toEqual(new Set(['a']));
      expect(await jobs.save([checkpoint({ gid: 'a', lease: 2 }, 1)])).toEqual(new Set(['a'])); // matched, although nothing changed
      await jobs.stop();
      await users.destroy();
    });

    it('changes no setting of the connections of the user', async () => {
      const settings = () =>
        dataSource.query('select @@session.sql_mode, @@session.autocommit, @@session.innodb_lock_wait_timeout, @@session.time_zone');
      const before = await settings();
      await inTransaction(async (runner, enlisted) => {
        await enlisted.create(aJob({ gid: 'a' }));
        expect(
          await runner.query('select @@session.sql_mode, @@session.autocommit, @@session.innodb_lock_wait_timeout, @@session.time_zone'),
        ).toEqual(before);
      });
      expect(await settings()).toEqual(before);
    });

    it('refuses a start in a transaction that a deadlock or a change of the schema has ended, before it writes', async () => {
      const started = inTransaction(async (runner, enlisted) => {
        await runner.query('create table if not exists made_inside (id integer primary key)');
        await enlisted.create(aJob({ gid: 'a' }));
      });
      await expect(started).rejects.toMatchObject({ code: 'TX_NOT_ACTIVE' });
      expect(await store.find('a')).toBeUndefined();
    });

    it('passes a deadlock of the transaction of the user on as it is', async () => {
      await dataSource.query('create table if not exists ours (id integer primary key, n integer not null)');
      await dataSource.query('replace into ours values (1, 0)');
      await inTransaction(async (rival, rivals) => {
        await rivals.create(aJob({ gid: 'a', instance: 'theirs' }));
        for (let i = 2; i < 9; i++) await rival.query('replace into ours values (?, 0)', [i]); // who has written less is the victim
        const mine = inTransaction(async (runner, enlisted) => {
          await runner.query('update ours set n = 1 where id = 1');
          const created = enlisted.create(aJob({ gid: 'a', instance: 'mine' }));
          created.catch(() => {});
          await until(() => waiting(dataSource));
          await rival.query('update ours set n = 2 where id = 1');
          return created;
        });
        await expect(mine).rejects.toMatchObject({ driverError: { errno: 1213 } });
      });
      expect((await store.find('a'))?.instance).toBe('theirs');
    });

    it('answers "locked" when the transaction of the user has a lock timeout of its own', async () => {
      await inTransaction(async (_, holders) => {
        await holders.create(aJob({ gid: 'a' }));
        await inTransaction(async (waiter, enlisted) => {
          await waiter.query('set session innodb_lock_wait_timeout = 1');
          expect(await enlisted.create(aJob({ gid: 'a', instance: 'other' }))).toEqual({ outcome: 'locked' });
          await waiter.query('set session innodb_lock_wait_timeout = default');
        });
      });
    });

    it('says that nothing was written when the server refused a write', async () => {
      const job = await aClaimedJob('a');
      await dataSource.query('alter table stepping_job rename to elsewhere');
      try {
        await expect(store.save([checkpoint(job, 1)])).rejects.toBeInstanceOf(WriteRefused);
        await expect(store.create([aJob({ gid: 'b' })])).rejects.toBeInstanceOf(WriteRefused);
        await expect(store.extend([job], 10_000)).rejects.toBeInstanceOf(WriteRefused);
      } finally {
        await dataSource.query('alter table elsewhere rename to stepping_job');
      }
      expect(await store.save([checkpoint(job, 1)])).toEqual(new Set(['a']));
    });

    it('refuses a name of a queue that is too long for it, and the others of the batch are stored without it', async () => {
      const long = aJob({ gid: 'long', queue: 'q'.repeat(401) });
      await expect(store.create([aJob({ gid: 'a' }), long])).rejects.toBeInstanceOf(WriteRefused);
      expect(await store.find('a')).toBeUndefined();
      await expect(inTransaction((_, enlisted) => enlisted.create(long))).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    });

    it('takes a batch that is larger than what the server takes at once', async () => {
      const steps = JSON.stringify({ v: 1, steps: [{ n: 'big', a: 'x'.repeat(1_000_000) }] });
      const jobs = Array.from({ length: 24 }, (_, i) => aJob({ gid: `big-${i}`, steps }));
      expect((await store.create(jobs)).map(({ outcome }) => outcome)).toEqual(jobs.map(() => 'stored'));
    });

    it('calls the outcome unknown when its connection is killed in the middle of a write, and works again at once', async () => {
      const job = await aClaimedJob('a');
      await inTransaction(async (runner) => {
        await runner.query(`select 1 from stepping_job where gid = 'a' for update`);
        const saved = store.save([checkpoint(job, 1)]).catch((error) => error);
        const [blocked] = await until(() => waiting(dataSource));
        await dataSource.query(`kill ${blocked?.id}`);
        const error = await saved;
        expect(error).toBeInstanceOf(Error);
        expect(error).not.toBeInstanceOf(WriteRefused);
        expect(error.code).not.toBe('STORE_UNAVAILABLE');
      });
      expect(await store.save([checkpoint(job, 1)])).toEqual(new Set(['a']));
    });

    it('opens its connections anew after all of them were lost while idle', async () => {
      const job = await aClaimedJob('a');
      await store.save([checkpoint(job, 1)]);
      const others = () =>
        dataSource.query('select id from information_schema.processlist where db = database() and id <> connection_id()');
      for (const { id } of await others()) await dataSource.query(`kill ${id}`).catch(() => {});
      await until(async () => (await others()).length === 0);
      const verbs = [
        () => store.save([checkpoint(job, 2)]),
        () => store.extend([job], 10_000),
        () => store.create([aJob({ gid: 'b' })]),
        () => store.claimDue(aClaim()),
        () => store.find('a'),
      ];
      for (const verb of verbs as (() => Promise<unknown>)[]) await verb().catch(verb); // whoever uses the store calls again
    });

    it('takes no connection of the pool of the user', async () => {
      const runners = Array.from({ length: 10 }, () => dataSource.createQueryRunner());
      await Promise.all(runners.map((runner) => runner.connect()));
      const job = await aClaimedJob('a');
      expect(await store.save([checkpoint(job, 1)])).toEqual(new Set(['a']));
      await Promise.all(runners.map((runner) => runner.release()));
    });

    service.describe('behind a network that fails', () => {
      let proxy: TcpProxy;
      let far: DataSource;
      let farStore: TransactionStore;

      beforeEach(async () => {
        proxy = await tcpProxy(url);
        far = await new DataSource({ type: 'mariadb', url: proxy.url }).initialize();
        farStore = openStore({ dataSource: far });
        await farStore.start();
      });

      afterEach(async () => {
        await farStore.stop();
        await far.destroy().catch(() => {});
        await proxy.close();
      });

      it('gives up renewing leases after a third of the lease when no answer comes, and works again when the network does', async () => {
        const job = await aClaimedJob('a');
        expect(await farStore.extend([job], 9_000)).toEqual(new Set(['a']));
        proxy.swallowAnswers();
        const began = performance.now();
        const error = await farStore.extend([job], 9_000).catch((error) => error);
        expect(performance.now() - began).toBeLessThan(9_000);
        expect(error).toBeInstanceOf(Error);
        expect(error).not.toBeInstanceOf(WriteRefused);
        proxy.heal();
        expect(await farStore.extend([job], 9_000)).toEqual(new Set(['a']));
      });

      it('tells a write that was sent from one that was not', async () => {
        const job = await aClaimedJob('a');
        await farStore.save([checkpoint(job, 1)]);
        await inTransaction(async (runner) => {
          await runner.query(`select 1 from stepping_job where gid = 'a' for update`);
          const sent = farStore.save([checkpoint(job, 2)]).catch((error) => error);
          await until(() => waiting(dataSource));
          proxy.cut();
          expect((await sent).code).not.toBe('STORE_UNAVAILABLE');
          expect(await sent).not.toBeInstanceOf(WriteRefused);
          await expect(farStore.save([checkpoint(job, 2)])).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
        });
        proxy.heal();
      });

      it('holds rows for seconds, not hours, when the way to the server dies in the middle of a claim', async () => {
        await farStore.claimDue(aClaim()); // its connection is open
        await store.create([aJob({ gid: 'a' })]);
        proxy.goSilent();
        const unheard = farStore.claimDue(aClaim()).catch(() => {});
        await until(() => locking(dataSource));
        expect(await store.claimDue(aClaim())).toEqual([]);
        const [claimed] = await until(() => store.claimDue(aClaim()));
        expect(claimed).toMatchObject({ gid: 'a' });
        proxy.cut();
        await unheard;
      });

      it('does not start without its server, and says so', async () => {
        const other = openStore({ dataSource: far });
        proxy.cut();
        await expect(other.start()).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
        proxy.heal();
      });
    });
  });
}

function checkpoint({ gid, lease }: { gid: string; lease: number }, step: number): Save {
  return { gid, lease, step, attempt: 1, status: 'submitted', giveUp: false, dueInMs: undefined, queue: undefined, error: undefined };
}

/** Waits for a condition; answers what it was met by. */
async function until<R>(condition: () => R | Promise<R>): Promise<NonNullable<R>> {
  for (;;) {
    const met = await condition();
    if (Array.isArray(met) ? met.length > 0 : met) return met as NonNullable<R>;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** The connections to this database that wait for a lock of a row. (`innodb_trx` is a copy that is not made anew while somebody keeps looking at it.) */
async function waiting(dataSource: DataSource): Promise<readonly { id: number }[]> {
  const [{ Status }] = await dataSource.query('show engine innodb status');
  const ids = (Status as string)
    .split('---TRANSACTION')
    .slice(1) // before: the latest deadlock
    .filter((transaction) => transaction.includes('LOCK WAIT'))
    .map((transaction) => Number(/thread id (\d+)/.exec(transaction)?.[1]));
  if (ids.length === 0) return [];
  return dataSource.query('select id from information_schema.processlist where db = database() and id in (?)', [ids]);
}

/** The transactions that have locked rows. */
async function locking(dataSource: DataSource): Promise<readonly unknown[]> {
  // The server makes its copy anew when nobody has looked at it for a tenth of a second.
  await new Promise((resolve) => setTimeout(resolve, 200));
  return dataSource.query('select 1 from information_schema.innodb_trx where trx_rows_locked > 0');
}

const FINISHED = `
  insert into stepping_job (gid, lease, created_at, finished_at, step, attempt, status, held, instance, queue, steps)
  values (uuid(), 1, utc_timestamp(6), utc_timestamp(6), 3, 1, 2, 0, 'done', 'default', '{"v":1,"steps":[{"n":"first"}]}')`;

const DOUBLE = `
  insert into stepping_job (gid, lease, created_at, finished_at, step, attempt, status, held, instance, queue, steps)
  select uuid(), lease, created_at, finished_at, step, attempt, status, held, instance, queue, steps from stepping_job`;
