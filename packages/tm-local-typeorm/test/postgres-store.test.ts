import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from '@jest/globals';
import { testService } from '@stepping/test-services';
import { type Change, type ClaimedJob, type Save, type TransactionStore, WriteRefused } from '@stepping/tm-local';
import { DataSource } from 'typeorm';
import { aClaim, aJob, openStore } from './a-store.js';
import { type TcpProxy, tcpProxy } from './tcp-proxy.js';

const postgres = await testService('postgres');

postgres.describe('typeormStore on PostgreSQL', () => {
  let url: string;
  let dataSource: DataSource;
  let store: TransactionStore;

  beforeAll(async () => {
    url = await postgres.database();
    dataSource = await new DataSource({ type: 'postgres', url }).initialize();
    store = openStore({ dataSource });
    await store.start();
  });

  beforeEach(async () => {
    await dataSource.query('truncate stepping_job');
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

  it('writes checkpoints without touching an index', async () => {
    const own = await new DataSource({ type: 'postgres', url: await postgres.database('hot') }).initialize();
    // The server counts a session's updates for sure when it ends: one store for what comes before, one for the checkpoints.
    const [before, checkpoints] = [openStore({ dataSource: own }), openStore({ dataSource: own })];
    await before.start();
    // So few that all their versions fit on one page: whether old ones can be cleared away depends on what else the server does.
    await before.create(Array.from({ length: 5 }, (_, i) => aJob({ gid: `job-${i}` })));
    const jobs = await before.claimDue(aClaim());
    await before.stop();
    const { hot } = await until(() => updatesOf(own, 5));

    await checkpoints.start();
    for (let step = 1; step <= 3; step++) await checkpoints.save(jobs.map((job) => checkpoint(job, step)));
    await checkpoints.stop();
    expect((await until(() => updatesOf(own, 20))).hot - hot).toBe(15);
    await own.destroy();
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

  it('calls the outcome unknown when its connection is killed in the middle of a write, and works again at once', async () => {
    const job = await aClaimedJob('a');
    const runner = dataSource.createQueryRunner();
    await runner.startTransaction();
    await runner.query(`select 1 from stepping_job where gid = 'a' for update`);
    const saved = store.save([checkpoint(job, 1)]).catch((error) => error);
    await until(async () => (await dataSource.query(TERMINATE_WAITING)).length > 0);

    const error = await saved;
    expect(error).toBeInstanceOf(Error);
    expect(error).not.toBeInstanceOf(WriteRefused);
    expect(error.code).not.toBe('STORE_UNAVAILABLE');
    await runner.rollbackTransaction();
    await runner.release();
    expect(await store.save([checkpoint(job, 1)])).toEqual(new Set(['a']));
  });

  it('opens its connections anew after all of them were lost while idle', async () => {
    const job = await aClaimedJob('a');
    await store.save([checkpoint(job, 1)]);
    await dataSource.query(
      'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()',
    );
    await until(async () => (await connectionsOf(dataSource)) === 1);
    const verbs = [
      () => store.save([checkpoint(job, 2)]),
      () => store.extend([job], 10_000),
      () => store.create([aJob({ gid: 'b' })]),
      () => store.claimDue(aClaim()),
      () => store.find('a'),
    ];
    for (const verb of verbs) await eventually(verb);
  });

  it('claims a job that somebody changed between the snapshot of the claim and its lock', async () => {
    const role = `watched_${Date.now()}`;
    await dataSource.query(`
      create role ${role} login password 'watched';
      grant all on all tables in schema public to ${role};
      create function wait_to_look() returns boolean language plpgsql as $$ begin perform pg_advisory_xact_lock(7); return true; end $$;
      create policy watched on stepping_job using (wait_to_look());
      alter table stepping_job enable row level security`);
    const theirs = new URL(url);
    Object.assign(theirs, { username: role, password: 'watched' });
    const watched = await new DataSource({ type: 'postgres', url: theirs.href }).initialize();
    const claiming = openStore({ dataSource: watched, migrate: false });
    const holder = dataSource.createQueryRunner();
    try {
      await claiming.start();
      await store.create([aJob({ gid: 'a' })]);
      await holder.query('select pg_advisory_lock(7)');
      const claimed = claiming.claimDue(aClaim());
      await until(async () => (await dataSource.query(`select 1 from pg_locks where locktype = 'advisory' and not granted`)).length > 0);
      await dataSource.query(`update stepping_job set tenant = 'changed'`);
      await holder.query('select pg_advisory_unlock(7)');
      expect(await claimed).toMatchObject([{ gid: 'a', tenant: 'changed' }]);
    } finally {
      await holder.query('select pg_advisory_unlock_all()');
      await holder.release();
      await claiming.stop();
      await watched.destroy();
      await dataSource.query(`
        alter table stepping_job disable row level security;
        drop policy watched on stepping_job;
        drop function wait_to_look();
        drop owned by ${role};
        drop role ${role}`);
    }
  });

  it('leaves no settings on the connections of the user', async () => {
    expect(await dataSource.query('show plan_cache_mode')).toEqual([{ plan_cache_mode: 'auto' }]);
    expect(await dataSource.query('show lock_timeout')).toEqual([{ lock_timeout: '0' }]);
  });

  it('reads no whole table by a plan that was made while it was empty', async () => {
    const fresh = openStore({ dataSource, tablePrefix: 'fresh_' });
    await fresh.start();
    const workOn = async (gid: string) => {
      await fresh.create([aJob({ gid, status: 'prepared' })]);
      await fresh.change([submit(gid)]);
      const [claimed] = await fresh.claimDue(aClaim());
      const job = claimed as ClaimedJob;
      expect(await fresh.extend([job], 90_000)).toEqual(new Set([gid]));
      expect(await fresh.save([{ ...checkpoint(job, 1), status: 'succeeded', giveUp: true }])).toEqual(new Set([gid]));
    };
    await workOn('first');
    await dataSource.query(`
      insert into fresh_job (gid, lease, created_at, finished_at, step, attempt, status, held, instance, queue, steps)
      select 'done-' || i, 1, now(), now(), 3, 1, 2, 0, 'done', 'default', '{"v":1,"steps":[]}' from generate_series(1, 10000) i`);
    for (let i = 0; i < 3; i++) await workOn(`later-${i}`);
    await fresh.stop(); // its connections report what they read when they are closed
    const { inSequence } = await until(async () => {
      const reads = `select seq_tup_read::int as "inSequence", idx_tup_fetch::int as "byIndex" from pg_stat_user_tables where relname = 'fresh_job'`;
      const [read] = await dataSource.query(reads);
      return read.inSequence + read.byIndex > 10 ? read : undefined;
    });
    expect(inSequence).toBeLessThan(100);
  });

  it('takes no connection of the pool of the user', async () => {
    const runners = Array.from({ length: 10 }, () => dataSource.createQueryRunner());
    await Promise.all(runners.map((runner) => runner.connect()));
    const job = await aClaimedJob('a');
    expect(await store.save([checkpoint(job, 1)])).toEqual(new Set(['a']));
    await Promise.all(runners.map((runner) => runner.release()));
  });

  it('needs neither the search path nor the settings of the role', async () => {
    await dataSource.query('create schema other');
    const role = new DataSource({
      type: 'postgres',
      url,
      schema: 'jobs',
      extra: { options: '-c search_path=other -c default_transaction_isolation=serializable -c datestyle=SQL,DMY -c timezone=Asia/Tokyo' },
    });
    await role.initialize();
    const jobs = openStore({ dataSource: role });
    await jobs.start();
    const runner = role.createQueryRunner();
    await runner.startTransaction('READ COMMITTED');
    expect(await jobs.enlist?.({ kind: 'typeorm', handle: runner })?.create(aJob({ gid: 'a' }))).toEqual({ outcome: 'stored', lease: 1 });
    await runner.commitTransaction();
    await runner.release();
    for (let i = 0; i < 3; i++) {
      await jobs.create([aJob({ gid: `b${i}` })]);
      expect((await jobs.claimDue(aClaim())).map(({ gid }) => gid)).toContain(`b${i}`);
    }
    expect(await role.query('select count(*)::int as jobs from jobs.stepping_job')).toEqual([{ jobs: 4 }]);
    await jobs.stop();
    await role.destroy();
  });

  it('passes a serialization failure of the transaction of the user on as it is', async () => {
    const runner = dataSource.createQueryRunner();
    await runner.startTransaction('REPEATABLE READ');
    await runner.query('select 1 from stepping_job');
    await store.create([aJob({ gid: 'a' })]);
    const created = store.enlist?.({ kind: 'typeorm', handle: runner })?.create(aJob({ gid: 'a', instance: 'mine' }));
    await expect(created).rejects.toMatchObject({ driverError: { code: '40001' } });
    await runner.rollbackTransaction();
    await runner.release();
  });

  it('prepares its insert once on a connection of the user, and for every table of jobs apart', async () => {
    const others = openStore({ dataSource, tablePrefix: 'others_' });
    await others.start();
    const runner = dataSource.createQueryRunner();
    const native = { kind: 'typeorm', handle: runner };
    for (const gid of ['a', 'b']) {
      await runner.startTransaction();
      for (const jobs of [store, others]) {
        expect(await jobs.enlist?.(native)?.create(aJob({ gid }))).toEqual({ outcome: 'stored', lease: 1 });
      }
      await runner.commitTransaction();
    }
    expect(await runner.query('select count(*)::int as prepared from pg_prepared_statements')).toEqual([{ prepared: 2 }]);
    await runner.release();
    await others.stop();
  });

  it('answers "locked" when the transaction of the user has a lock timeout of its own', async () => {
    const [holder, waiter] = [dataSource.createQueryRunner(), dataSource.createQueryRunner()];
    await holder.startTransaction();
    await store.enlist?.({ kind: 'typeorm', handle: holder })?.create(aJob({ gid: 'a' }));
    await waiter.startTransaction();
    await waiter.query("set local lock_timeout = '20ms'");
    expect(await store.enlist?.({ kind: 'typeorm', handle: waiter })?.create(aJob({ gid: 'a', instance: 'other' }))).toEqual({
      outcome: 'locked',
    });
    for (const runner of [holder, waiter]) {
      await runner.rollbackTransaction();
      await runner.release();
    }
  });

  postgres.describe('behind a network that fails', () => {
    let proxy: TcpProxy;
    let far: DataSource;
    let farStore: TransactionStore;

    beforeEach(async () => {
      proxy = await tcpProxy(url);
      far = await new DataSource({ type: 'postgres', url: proxy.url, poolErrorHandler: () => {} }).initialize();
      farStore = openStore({ dataSource: far });
      await farStore.start();
    });

    afterEach(async () => {
      await farStore.stop();
      await proxy.close();
      await far.destroy();
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
      await dataSource.query('begin');
      const runner = dataSource.createQueryRunner();
      await runner.startTransaction();
      await runner.query(`select 1 from stepping_job where gid = 'a' for update`);
      const sent = farStore.save([checkpoint(job, 2)]).catch((error) => error);
      await until(async () => (await dataSource.query(WAITING)).length > 0);
      proxy.cut();
      expect((await sent).code).not.toBe('STORE_UNAVAILABLE');
      expect(await sent).not.toBeInstanceOf(WriteRefused);
      await expect(farStore.save([checkpoint(job, 2)])).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
      await runner.rollbackTransaction();
      await runner.release();
      proxy.heal();
    });

    it('does not start without its server, and says so', async () => {
      const other = openStore({ dataSource: far });
      proxy.cut();
      await expect(other.start()).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
      proxy.heal();
    });
  });

  it('hears of due jobs again after its connection was lost', async () => {
    let heard = 0;
    const stop = store.onDue?.(() => heard++);
    await until(() => heard > 0);
    const [{ pid }] = await until(async () =>
      dataSource.query(`select pid from pg_stat_activity where query like 'listen "stepping_due_%' and datname = current_database()`),
    );
    await dataSource.query('select pg_terminate_backend($1)', [pid]);
    const before = heard;
    await until(() => heard > before);
    stop?.();
  });
});

function checkpoint({ gid, lease }: { gid: string; lease: number }, step: number): Save {
  return { gid, lease, step, attempt: 1, status: 'submitted', giveUp: false, dueInMs: undefined, queue: undefined, error: undefined };
}

function submit(gid: string): Change {
  return { gid, instance: undefined, from: ['prepared'], to: 'submitted', queue: undefined, dueInMs: 0, held: false, error: undefined };
}

/** Waits for a condition; answers what it was met by. */
async function until<R>(condition: () => R | Promise<R>): Promise<NonNullable<R>> {
  for (;;) {
    const met = await condition();
    if (Array.isArray(met) ? met.length > 0 : met) return met as NonNullable<R>;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Calls it again once, as everybody who uses the store does: the first one may meet the end of a connection. */
async function eventually(call: () => Promise<unknown>): Promise<void> {
  await call().catch(call);
}

/** Once there were so many. */
async function updatesOf(dataSource: DataSource, all: number): Promise<{ hot: number } | undefined> {
  const [now] = await dataSource.query(
    `select n_tup_upd::int as all, n_tup_hot_upd::int as hot from pg_stat_user_tables where relname = 'stepping_job'`,
  );
  return now.all === all ? now : undefined;
}

async function connectionsOf(dataSource: DataSource): Promise<number> {
  const [{ n }] = await dataSource.query('select count(*)::int as n from pg_stat_activity where datname = current_database()');
  return n;
}

const WAITING = `select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
const TERMINATE_WAITING = `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
