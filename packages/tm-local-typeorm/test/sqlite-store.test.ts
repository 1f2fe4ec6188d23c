import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { TransactionStore } from '@stepping/tm-local';
import { fileTurns } from '@stepping/typeorm';
import { DataSource } from 'typeorm';
import { aClaim, aJob, openStore } from './a-store.js';

describe('typeormStore on SQLite', () => {
  let folder: string;
  let file: string;
  let dataSource: DataSource;
  let store: TransactionStore;

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'stepping-store-'));
    file = join(folder, 'jobs.sqlite');
    dataSource = await new DataSource({ type: 'better-sqlite3', database: file }).initialize();
    store = openStore({ dataSource });
    await store.start();
  });

  afterEach(async () => {
    await store.stop();
    if (dataSource.isInitialized) await dataSource.destroy();
    rmSync(folder, { recursive: true });
  });

  it('turns the file to WAL, so that readers and the writer do not wait for each other', async () => {
    expect(await dataSource.query('pragma journal_mode')).toEqual([{ journal_mode: 'wal' }]);
  });

  it('waits for a writer of another process without blocking the event loop', async () => {
    const holder = spawn(process.execPath, ['-e', HOLD_THE_LOCK, file], { stdio: ['pipe', 'pipe', 'inherit'], cwd: import.meta.dirname });
    const ended = once(holder, 'exit');
    await once(holder.stdout, 'data');

    let ticks = 0;
    const ticking = setInterval(() => ticks++, 5);
    const created = store.create([aJob({ gid: 'a' })]);
    while (ticks < 10) await new Promise(setImmediate);
    clearInterval(ticking);
    expect(await store.find('a')).toBeUndefined();

    holder.stdin.end();
    expect(await created).toEqual([{ outcome: 'stored', lease: 1 }]);
    await ended;
  });

  it('says that nothing was written when the lock is never to be had', async () => {
    await dataSource.query('begin immediate');
    const waited = store.save([
      {
        gid: 'a',
        lease: 1,
        step: 1,
        attempt: 1,
        status: 'submitted',
        giveUp: false,
        dueInMs: undefined,
        queue: undefined,
        error: undefined,
      },
    ]);
    await expect(waited).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    await dataSource.query('rollback');
  });

  it('gives up renewing leases after a third of the lease', async () => {
    await dataSource.query('begin immediate');
    const began = performance.now();
    await expect(store.extend([{ gid: 'a', lease: 1 }], 3_000)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect(performance.now() - began).toBeLessThan(3_000);
    await dataSource.query('rollback');
  });

  it('writes nothing after it said that it gave up', async () => {
    const turn = Promise.withResolvers<void>();
    const held = fileTurns(dataSource).run(() => turn.promise);
    expect(await store.createAlone(aJob({ gid: 'a' }), 20)).toEqual({ outcome: 'locked' });
    turn.resolve();
    await held;
    await store.create([aJob({ gid: 'b' })]);
    expect(await store.find('a')).toBeUndefined();
  });

  it('takes its own turn, not that of its caller', async () => {
    const order: string[] = [];
    let created: Promise<unknown> | undefined;
    await fileTurns(dataSource).run(async () => {
      created = store.create([aJob({ gid: 'a' })]).then(() => order.push('created'));
      await new Promise(setImmediate);
      order.push('end of the turn');
    });
    await created;
    expect(order).toEqual(['end of the turn', 'created']);
  });

  it('writes more rows than one transaction takes', async () => {
    const jobs = Array.from({ length: 600 }, (_, i) => aJob({ gid: `job-${String(i).padStart(3, '0')}` }));
    expect((await store.create(jobs)).every(({ outcome }) => outcome === 'stored')).toBe(true);
    const claimed = [];
    for (let batch = await store.claimDue(aClaim()); batch.length > 0; batch = await store.claimDue(aClaim())) claimed.push(...batch);
    expect(new Set(claimed.map(({ gid }) => gid)).size).toBe(600);
    expect((await store.extend(claimed, 90_000)).size).toBe(600);
  });

  it('finds what is to be purged, and counts, all over a table that it reads in parts', async () => {
    await dataSource.query(OLD_JOBS);
    expect((await store.stats()).succeeded).toBe(60_000);
    const purge = { finishedMsAgo: 3_600_000, failedMsAgo: 3_600_000, limit: 500 };
    let purged = 0;
    for (let jobs = await store.startPurge(purge); jobs.length > 0; jobs = await store.startPurge(purge))
      purged += await store.finishPurge(jobs);
    expect(purged).toBe(2_000);
    expect((await store.stats()).succeeded).toBe(58_000);
  });

  it('refuses a database in memory', async () => {
    const memory = await new DataSource({ type: 'better-sqlite3', database: ':memory:' }).initialize();
    await expect(openStore({ dataSource: memory }).start()).rejects.toMatchObject({ code: 'STORE_REFUSED' });
    await memory.destroy();
  });

  it('refuses a DataSource that is not connected, and says what to call', async () => {
    const unconnected = new DataSource({ type: 'better-sqlite3', database: file });
    const started = openStore({ dataSource: unconnected }).start();
    await expect(started).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining('await dataSource.initialize()'),
    });
  });

  it('refuses a transaction of the same file that is of another DataSource', async () => {
    const other = await new DataSource({ type: 'better-sqlite3', database: file }).initialize();
    expect(() => store.enlist?.({ kind: 'typeorm', handle: other.createQueryRunner() })).toThrow(
      expect.objectContaining({ code: 'STORE_REFUSED' }),
    );
    await other.destroy();
  });

  it('does not enlist in a transaction of another file', async () => {
    const other = await new DataSource({ type: 'better-sqlite3', database: join(folder, 'other.sqlite') }).initialize();
    expect(store.enlist?.({ kind: 'typeorm', handle: other.createQueryRunner() })).toBeUndefined();
    await other.destroy();
  });

  it('says so when it is used before it is started', async () => {
    await expect(openStore({ dataSource }).save([])).rejects.toMatchObject({ code: 'NOT_STARTED' });
  });
});

/** 2 000 of 60 000 are old enough to be purged, all over the table. */
const OLD_JOBS = `
  with recursive numbers (value) as (values (1) union all select value + 1 from numbers where value < 60000)
  insert into stepping_job (gid, lease, created_at, finished_at, step, attempt, status, held, instance, queue, steps)
  select 'done-' || value, 1, 0, case value % 30 when 0 then 0 else unixepoch() * 1000 end, 3, 1, 2, 0, 'done', 'default', '{"v":1,"steps":[]}'
  from numbers`;

/** Another process that writes to the file until its standard input ends. */
const HOLD_THE_LOCK = `
  const db = new (require('better-sqlite3'))(process.argv[1]);
  db.exec('begin immediate');
  console.log('holding');
  process.stdin.on('end', () => { db.exec('commit'); process.exit(); }).resume();
`;
