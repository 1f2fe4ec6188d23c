import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, expect, it } from '@jest/globals';
import { defineStep, newGid, permanent, unchecked } from '@stepping/core';
import { inTransaction, typeormDb } from '@stepping/db-typeorm';
import { testService } from '@stepping/test-services';
import { memoryDb, memoryTransaction } from '@stepping/tm-local/testing';
import { DataSource } from 'typeorm';
import { aDtmApp, note, stopDtmApps, until } from './support/dtm-app.js';
import { cutLines, Line } from './support/line.js';

const dtm = await testService('dtm');
const serverUrl = dtm.available ? await dtm.database() : '';
const folder = mkdtempSync(join(tmpdir(), 'dtm-operations-'));
const dataSources: DataSource[] = [];
afterEach(stopDtmApps);
afterEach(cutLines);
afterAll(async () => {
  await Promise.all(dataSources.map((dataSource) => dataSource.destroy()));
  rmSync(folder, { recursive: true, force: true });
});

/** An app with a ledger, and a step that does what the test says. */
async function withLedger(serves: { line?: Line; tenant?: string } = {}) {
  const dataSource = await new DataSource({ type: 'better-sqlite3', database: join(folder, `${newGid()}.sqlite`) }).initialize();
  dataSources.push(dataSource);
  const attempts: string[] = [];
  let fails: (n: number, attempt: number) => unknown = () => undefined;
  const work = defineStep({
    name: 'work',
    args: unchecked<{ n: number }>(),
    retry: { maxAttempts: 2 },
    run({ args, attempt, idempotencyKey }) {
      attempts.push(`${idempotencyKey.split('/')[1]}/${attempt}`);
      const error = fails(args.n, attempt);
      if (error) throw error;
    },
  });
  const app = await aDtmApp({ serverUrl: serves.line?.url ?? serverUrl, steps: [note, work], use: typeormDb({ dataSource }) });
  const { jobs } = app.stepping;
  const start = async (gid?: string) => {
    const job = app.stepping.createJob({ gid, tenant: serves.tenant });
    await job.addStep(work, { n: 1 }).addStep(work, { n: 2 }).addStep(work, { n: 3 }).start();
    return job.gid;
  };
  const ends = (gid: string) => jobs.wait(gid, { timeoutMs: 50_000 });
  const failIf = (rule: typeof fails) => {
    fails = rule;
  };
  return { app, jobs, dataSource, work, attempts, start, ends, failIf };
}

dtm.describe('what an operator sees of a job on DTM', () => {
  it('are its steps with their args, the attempt to come, the last error, and when it is due', async () => {
    const { jobs, start, failIf, ends } = await withLedger({ tenant: 'acme' });
    let broken = true;
    failIf((n) => n === 2 && broken && new Error('the bank is closed'));
    const before = new Date();
    const gid = await start();
    await until('an attempt failed', async () => (await jobs.find(gid))?.lastError !== undefined);
    const job = await jobs.find(gid);
    expect(job).toEqual({
      gid,
      status: 'submitted',
      tenant: 'acme',
      createdAt: expect.any(Date),
      dueAt: expect.any(Date),
      step: 1,
      attempt: 2,
      lastError: { name: 'Error', message: 'the bank is closed' },
      steps: [
        { name: 'work', status: 'succeeded', args: { n: 1 } },
        { name: 'work', status: 'waiting', args: { n: 2 } },
        { name: 'work', status: 'waiting', args: { n: 3 } },
      ],
    });
    expect(job?.createdAt.getTime()).toBeGreaterThanOrEqual(before.getTime());
    expect(job?.dueAt?.getTime()).toBeGreaterThan(before.getTime());
    broken = false;
    await expect(ends(gid)).resolves.toMatchObject({ status: 'succeeded', step: 3, dueAt: undefined, attempt: 1 });
  });

  it('is nothing of jobs that are not there, or are of others', async () => {
    const { jobs } = await withLedger();
    await expect(jobs.find(newGid())).resolves.toBeUndefined();
    const other = await aDtmApp({ serverUrl, dtm: { secret: 'of another app' } });
    const { gid } = await other.stepping.createJob().addStep(note, { n: 1 }).start();
    await expect(jobs.find(gid)).resolves.toBeUndefined();
    await expect(jobs.redrive(gid)).rejects.toMatchObject({ code: 'JOB_NOT_FOUND' });
  });

  it('is that it failed, not that it was rolled back, also when its very first step failed and no ledger says so', async () => {
    const db = memoryDb();
    const dead = defineStep({
      name: 'dead',
      run() {
        throw permanent('never');
      },
    });
    const app = await aDtmApp({ serverUrl, steps: [dead], use: db });
    const transaction = memoryTransaction(db);
    const { gid } = await app.stepping.createJob({ transaction }).addStep(dead).start();
    await expect(app.stepping.jobs.wait(gid, { timeoutMs: 50_000 })).resolves.toMatchObject({
      status: 'failed',
      step: 0,
      steps: [{ status: 'failed' }],
    });
  });
});

dtm.describe('a job of a database that only another process has, on DTM', () => {
  it('is not said to have failed, nor to be rolled back, where nobody here can know', async () => {
    const db = memoryDb();
    const app = await aDtmApp({ serverUrl, use: db });
    const tenant = newGid();
    const transaction = memoryTransaction(db);
    const job = app.stepping.createJob({ transaction, tenant }).addStep(note, { n: 1 });
    await job.prepare();
    const operator = await aDtmApp({ serverUrl, dtm: { callbackUrl: app.callbackUrl } });
    await expect(operator.stepping.jobs.find(job.gid)).resolves.toMatchObject({ status: 'prepared' });
    await transaction.rollback();
    await job.submit();
    await expect(operator.stepping.jobs.find(job.gid)).rejects.toMatchObject({
      code: 'DB_UNKNOWN',
      message: expect.stringContaining('memory'),
    });
    await expect(operator.stepping.jobs.redrive(job.gid)).rejects.toMatchObject({ code: 'DB_UNKNOWN' });
    const again = operator.stepping.createJob({ gid: job.gid }).addStep(note, { n: 1 }).start();
    await expect(again).rejects.toMatchObject({ code: 'DB_UNKNOWN' });
    // It hides no other one.
    const { gid } = await operator.stepping.createJob({ tenant }).addStep(note, { n: 2 }).start();
    await expect(operator.stepping.jobs.list({ tenant })).resolves.toMatchObject({ jobs: [{ gid }] });
    expect(operator.log).toContainEqual(expect.objectContaining({ level: 'warn', fields: expect.objectContaining({ gid: job.gid }) }));
  });
});

dtm.describe('a redrive on DTM', () => {
  it('goes on at the step that failed, with all its attempts, the same gid and the same idempotency keys', async () => {
    const { app, jobs, start, ends, failIf, attempts } = await withLedger();
    failIf((n) => n === 2 && new Error('no'));
    const gid = await start();
    await expect(ends(gid)).resolves.toMatchObject({ status: 'failed', step: 1, attempt: 2, lastError: { message: 'no' } });
    expect(app.told.filter((event) => event.startsWith('job.failed'))).toEqual([`job.failed ${gid}`]);
    failIf((n, attempt) => n === 2 && attempt === 1 && new Error('not yet'));
    await jobs.redrive(gid);
    await expect(ends(gid)).resolves.toMatchObject({ gid, status: 'succeeded', step: 3 });
    expect(attempts).toEqual(['000/1', '001/1', '001/2', '001/1', '001/2', '002/1']);
    await expect(jobs.redrive(gid)).rejects.toMatchObject({ code: 'JOB_STATUS', message: expect.stringContaining('succeeded') });
  });

  it('may fail again, and be redriven again', async () => {
    const { jobs, start, ends, failIf, attempts } = await withLedger();
    failIf((n) => n === 3 && permanent('no'));
    const gid = await start(`order-${newGid()}`);
    await expect(ends(gid)).resolves.toMatchObject({ status: 'failed', step: 2 });
    await jobs.redrive(gid);
    await until('it failed again', async () => attempts.length === 4 && (await jobs.find(gid))?.status === 'failed');
    failIf(() => undefined);
    await jobs.redrive(gid);
    await expect(ends(gid)).resolves.toMatchObject({ status: 'succeeded' });
    expect(attempts).toEqual(['000/1', '001/1', '002/1', '002/1', '002/1']);
  });

  it('is made by one of those who make it at the same time', async () => {
    const line = await Line.to(serverUrl);
    const { jobs, start, ends, failIf, attempts } = await withLedger({ line });
    failIf((n) => n === 1 && permanent('no'));
    const gid = await start();
    await ends(gid);
    failIf(() => undefined);
    line.sent.length = 0;
    const sent = (verb: string) => line.sent.filter((one) => one === verb).length;
    const [prepare, submit] = [line.hold('prepare'), line.hold('submit')];
    const redriving = Promise.allSettled(Array.from({ length: 8 }, () => jobs.redrive(gid)));
    await until('all of them have seen that it failed', () => sent('prepare') === 8);
    const looks = sent('query');
    prepare();
    await until('all of them have looked what they made', () => sent('query') === looks + 8);
    submit();
    const answers = await redriving;
    expect(answers.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    for (const answer of answers) if (answer.status === 'rejected') expect(answer.reason).toMatchObject({ code: 'JOB_STATUS' });
    await expect(ends(gid)).resolves.toMatchObject({ status: 'succeeded' });
    expect(attempts).toEqual(['000/1', '000/1', '001/1', '002/1']);
  });

  it('is made once, whatever gets lost on the way', async () => {
    const line = await Line.to(serverUrl);
    const { jobs, start, ends, failIf, attempts } = await withLedger({ line });
    failIf((n) => n === 1 && permanent('no'));
    const gids = [await start(), await start(), await start()] as const;
    for (const gid of gids) await ends(gid);
    failIf(() => undefined);
    line.once('prepare', 'answer');
    await jobs.redrive(gids[0]);
    line.once('submit', 'answer');
    await jobs.redrive(gids[1]);
    line.once('submit', 'request'); // by the query-back then
    await jobs.redrive(gids[2]);
    for (const gid of gids) await expect(ends(gid)).resolves.toMatchObject({ status: 'succeeded' });
    expect(attempts).toHaveLength(3 + 9);
  });

  it('is refused for a job that was rolled back: its steps belong to a transaction that never committed', async () => {
    const { app, jobs, dataSource, work, attempts } = await withLedger();
    let gid = '';
    const failing = inTransaction(app.stepping, dataSource, async ({ job }) => {
      gid = job.addStep(work, { n: 1 }).gid;
      throw new Error('no order');
    });
    await expect(failing).rejects.toThrow('no order');
    // It never came to a prepare.
    await expect(jobs.find(gid)).resolves.toBeUndefined();
    await expect(jobs.redrive(gid)).rejects.toMatchObject({ code: 'JOB_NOT_FOUND' });

    const db = memoryDb();
    const other = await aDtmApp({ serverUrl, use: db });
    const transaction = memoryTransaction(db);
    const job = other.stepping.createJob({ transaction }).addStep(note, { n: 1 });
    await job.prepare();
    await transaction.rollback();
    await job.submit();
    await expect(other.stepping.jobs.redrive(job.gid)).rejects.toMatchObject({
      code: 'JOB_STATUS',
      message: expect.stringContaining('rolled-back'),
    });
    expect([attempts, other.ran]).toEqual([[], []]);
  });

  it('of all takes those of a tenant and a time, and leaves out who is not failed', async () => {
    const tenant = newGid();
    const { jobs, start, ends, failIf } = await withLedger({ tenant });
    await ends(await start());
    failIf((n) => n === 1 && permanent('no'));
    const gids = [await start(), await start()];
    for (const gid of gids) await ends(gid);
    failIf(() => undefined);
    await expect(jobs.redriveAll({ tenant, createdBefore: new Date(0) })).resolves.toEqual({ redriven: 0 });
    await expect(jobs.redriveAll({ tenant: newGid() })).resolves.toEqual({ redriven: 0 });
    await expect(jobs.redriveAll({ tenant })).resolves.toEqual({ redriven: 2 });
    for (const gid of gids) await expect(ends(gid)).resolves.toMatchObject({ status: 'succeeded' });
    await expect(jobs.redriveAll({ tenant })).resolves.toEqual({ redriven: 0 });
  });
});

dtm.describe('a list of jobs on DTM', () => {
  it('has those that fit, each once and as it is now, page after page', async () => {
    const tenant = newGid();
    const { jobs, start, ends, failIf } = await withLedger({ tenant });
    failIf((n) => n === 2 && permanent('no'));
    const failed = [await start(), await start(`order-${newGid()}`)];
    const redriven = await start();
    for (const gid of [...failed, redriven]) await ends(gid);
    failIf(() => undefined);
    await jobs.redrive(redriven);
    const succeeded = await start();
    for (const gid of [redriven, succeeded]) await until('it succeeded', async () => (await jobs.find(gid))?.status === 'succeeded');

    const listed = async (filter: Parameters<typeof jobs.list>[0]) => {
      const gids: string[] = [];
      let cursor: string | undefined;
      do {
        const page = await jobs.list({ tenant, limit: 2, cursor, ...filter });
        expect(page.jobs.length).toBeLessThanOrEqual(2);
        for (const job of page.jobs) {
          expect(job).toEqual(await jobs.find(job.gid));
          gids.push(job.gid);
        }
        cursor = page.cursor;
      } while (cursor !== undefined);
      return gids.sort();
    };
    await expect(listed({})).resolves.toEqual([...failed, redriven, succeeded].sort());
    await expect(listed({ status: 'failed' })).resolves.toEqual([...failed].sort());
    await expect(listed({ status: ['succeeded', 'prepared'] })).resolves.toEqual([redriven, succeeded].sort());
    await expect(listed({ status: 'cancelled' })).resolves.toEqual([]);
    const { createdAt } = (await jobs.find(succeeded)) ?? { createdAt: new Date() };
    await expect(listed({ createdBefore: createdAt })).resolves.toEqual([...failed, redriven].sort());
    await expect(listed({ createdAfter: new Date(createdAt.getTime() - 1) })).resolves.toEqual([succeeded]);
  });
});

dtm.describe('jobs.settle on DTM', () => {
  it('decides a prepared job whose database is gone for good, and no other', async () => {
    const gone = memoryDb({ name: 'gone' });
    const app = await aDtmApp({ serverUrl, use: gone });
    const settled: string[] = [];
    for (const verdict of ['submitted', 'rolled-back'] as const) {
      const transaction = memoryTransaction(gone);
      const job = app.stepping.createJob({ transaction }).addStep(note, { n: 1 });
      await job.prepare();
      settled.push(job.gid);
      // A process that does not know the database.
      const operator = await aDtmApp({ serverUrl, dtm: { callbackUrl: app.callbackUrl } });
      await operator.stepping.jobs.settle(job.gid, verdict, 'the tenant has left');
      await expect(app.stepping.jobs.settle(job.gid, verdict, 'again')).rejects.toMatchObject({ code: 'JOB_STATUS' });
      expect(operator.log).toContainEqual(
        expect.objectContaining({ level: 'warn', fields: expect.objectContaining({ gid: job.gid, verdict }) }),
      );
    }
    const [submitted, rolledBack] = settled as [string, string];
    await expect(app.stepping.jobs.wait(submitted, { timeoutMs: 50_000 })).resolves.toMatchObject({ status: 'succeeded' });
    await expect(app.stepping.jobs.find(rolledBack)).resolves.toMatchObject({ status: 'rolled-back' });
    await expect(app.stepping.jobs.settle(newGid(), 'submitted', 'x')).rejects.toMatchObject({ code: 'JOB_NOT_FOUND' });
  });

  it('goes by what the server made of it, not by what its steps come to, also with waitResult', async () => {
    const gone = memoryDb({ name: 'gone' });
    const fails = defineStep({
      name: 'fails',
      run() {
        throw new Error('not now');
      },
    });
    const app = await aDtmApp({ serverUrl, steps: [fails], use: gone, dtm: { retryIntervalMs: 60_000 } });
    const job = app.stepping.createJob({ transaction: memoryTransaction(gone) }).addStep(fails);
    await job.prepare();
    const operator = await aDtmApp({ serverUrl, dtm: { callbackUrl: app.callbackUrl, waitResult: true } });
    await operator.stepping.jobs.settle(job.gid, 'submitted', 'the tenant has left');
    await expect(app.stepping.jobs.find(job.gid)).resolves.toMatchObject({ status: 'submitted' });
  });

  it('is refused when the database answers, and says otherwise', async () => {
    const db = memoryDb();
    const app = await aDtmApp({ serverUrl, use: db, dtm: { retryIntervalMs: 60_000 } });
    const transaction = memoryTransaction(db);
    const job = app.stepping.createJob({ transaction }).addStep(note, { n: 1 });
    await job.prepare();
    await transaction.commit();
    await expect(app.stepping.jobs.settle(job.gid, 'rolled-back', 'x')).rejects.toMatchObject({
      code: 'JOB_STATUS',
      message: expect.stringContaining('committed'),
    });
    await app.stepping.jobs.settle(job.gid, 'submitted', 'x');
    await expect(app.stepping.jobs.wait(job.gid, { timeoutMs: 50_000 })).resolves.toMatchObject({ status: 'succeeded' });
  });
});

dtm.describe('what DTM cannot do', () => {
  it('is refused with the reason', async () => {
    const { jobs } = await withLedger();
    const reasons = {
      cancel: [jobs.cancel(newGid()), /calls a failure/],
      purge: [jobs.purge({ finishedBefore: new Date() }), /DATA_EXPIRE/],
      stats: [jobs.stats(), /metrics/],
      list: [jobs.list({ step: 'work' }), /names of its steps/],
      redriveAll: [jobs.redriveAll({ step: 'work' }), /names of its steps/],
    } as const;
    for (const [verb, [refused, reason]] of Object.entries(reasons)) {
      await expect(refused).rejects.toMatchObject({ code: 'UNSUPPORTED_BY_TM', details: { verb }, message: expect.stringMatching(reason) });
    }
  });
});
