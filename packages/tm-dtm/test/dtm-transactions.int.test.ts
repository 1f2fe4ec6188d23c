import { afterEach, expect, it } from '@jest/globals';
import { defineStep, newGid, unchecked } from '@stepping/core';
import { testService } from '@stepping/test-services';
import { memoryDb, memoryTransaction } from '@stepping/tm-local/testing';
import { aDtmApp, note, stopDtmApps, until } from './support/dtm-app.js';
import { cutLines, Line } from './support/line.js';

const dtm = await testService('dtm');
const serverUrl = dtm.available ? await dtm.database() : '';
afterEach(stopDtmApps);
afterEach(cutLines);

async function withDatabase() {
  const line = await Line.to(serverUrl);
  const db = memoryDb();
  const app = await aDtmApp({ serverUrl: line.url, use: db });
  await until('the self-test is over', () => app.callbacks.length > 0);
  line.sent.length = 0;
  line.arrived.length = 0;
  const draft = (gid?: string) => {
    const transaction = memoryTransaction(db);
    const job = app.stepping.createJob({ gid, transaction }).addStep(note, { n: 1 }).addStep(note, { n: 2 });
    return { transaction, job };
  };
  const prepared = async (gid?: string) => {
    const made = draft(gid);
    await made.job.prepare();
    return made;
  };
  const statusOf = async (gid: string) => (await app.stepping.jobs.find(gid))?.status;
  const ends = (gid: string) => app.stepping.jobs.wait(gid, { timeoutMs: 50_000 });
  /** On the server itself: what the app would not know of, it is not told. */
  const isStored = async (gid: string) => {
    const answer = await fetch(`${serverUrl}/api/dtmsvr/query?gid=${gid}`);
    return (((await answer.json()) as any).transaction?.status as string | undefined) ?? 'none';
  };
  return { line, db, app, draft, prepared, statusOf, ends, isStored };
}

dtm.describe('a job tied to a transaction, on DTM', () => {
  it('runs when the transaction has committed, and not before', async () => {
    const { line, app, prepared, statusOf, ends } = await withDatabase();
    const { transaction, job } = await prepared();
    await expect(statusOf(job.gid)).resolves.toBe('prepared');
    expect(app.ran).toEqual([]);
    await transaction.commit();
    await expect(job.submit()).resolves.toBe('submitted');
    await expect(ends(job.gid)).resolves.toMatchObject({ status: 'succeeded' });
    expect(app.ran).toEqual([`${job.gid}:1`, `${job.gid}:2`]);
    expect(line.arrived.filter((verb) => verb !== 'query')).toEqual(['prepare', 'submit']);
    expect([...app.told].sort()).toEqual([`job.submitted ${job.gid}`, `job.succeeded ${job.gid}`].sort());
  });

  it('is aborted with its transaction; its gid is dead then', async () => {
    const { app, prepared, draft, statusOf } = await withDatabase();
    const { transaction, job } = await prepared(`order-${newGid()}`);
    await transaction.rollback();
    await expect(job.submit()).resolves.toBe('rolled-back');
    await expect(statusOf(job.gid)).resolves.toBe('rolled-back');
    expect(app.told).toEqual([`job.rolled-back ${job.gid}`]);
    await expect(draft(job.gid).job.start()).rejects.toMatchObject({ code: 'JOB_STATUS', message: expect.stringContaining('new gid') });
    await expect(app.stepping.createJob({ gid: job.gid }).addStep(note, { n: 3 }).start()).rejects.toMatchObject({ code: 'JOB_STATUS' });
    expect(app.ran).toEqual([]);
  });

  it('runs by the query-back when its process dies between commit and submit', async () => {
    const { app, prepared, ends } = await withDatabase();
    const { transaction, job } = await prepared();
    await transaction.commit();
    await expect(ends(job.gid)).resolves.toMatchObject({ status: 'succeeded' });
    expect(app.ran).toEqual([`${job.gid}:1`, `${job.gid}:2`]);
    // Its process lives after all, and comes late: nothing runs again.
    await expect(job.submit()).resolves.toBe('submitted');
    expect(app.ran).toEqual([`${job.gid}:1`, `${job.gid}:2`]);
    expect([...app.told].sort()).toEqual([`job.submitted ${job.gid}`, `job.succeeded ${job.gid}`].sort());
  });

  it('never runs when its process dies before the commit', async () => {
    const { app, prepared, ends } = await withDatabase();
    const { transaction, job } = await prepared();
    await transaction.close();
    await expect(ends(job.gid)).resolves.toMatchObject({ status: 'rolled-back' });
    expect(app.ran).toEqual([]);
    expect(app.told).toEqual([`job.rolled-back ${job.gid}`]);
  });

  it('is decided by nobody while its transaction is open', async () => {
    const { line, app, prepared, statusOf, ends } = await withDatabase();
    const { transaction, job } = await prepared();
    await until('it was asked for', () => app.callbacks.some(({ kind }) => kind === 'question'));
    await expect(statusOf(job.gid)).resolves.toBe('prepared');
    await transaction.commit();
    await job.submit();
    await expect(ends(job.gid)).resolves.toMatchObject({ status: 'succeeded' });
    // The query-back may have been on its way: DTM would start all steps again for a second submit, so the server was asked before.
    expect(line.arrived.indexOf('query')).toBeGreaterThan(0);
    expect(app.ran).toEqual([`${job.gid}:1`, `${job.gid}:2`]);
  });

  it('does not run when nobody heard whether it was prepared, and its prepare is not sent again', async () => {
    const { line, app, draft, isStored } = await withDatabase();
    const { transaction, job } = draft();
    line.once('prepare', 'answer');
    await expect(job.prepare()).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    // What the user makes of the transaction is without the job.
    await transaction.commit();
    await expect(isStored(job.gid)).resolves.toBe('failed');
    expect(line.sent.filter((verb) => verb === 'prepare')).toHaveLength(1);
    expect(app.ran).toEqual([]);
  });

  it('does not run when its prepare comes to the server only after everybody has given it up', async () => {
    const { line, app, draft, isStored } = await withDatabase();
    const { transaction, job } = draft();
    line.once('prepare', 'late');
    await expect(job.prepare()).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    await transaction.commit();
    await expect(isStored(job.gid)).resolves.toBe('none');
    await line.deliver();
    await expect(isStored(job.gid)).resolves.toBe('prepared');
    await until('the query-back ended it', async () => (await isStored(job.gid)) === 'failed');
    expect(app.ran).toEqual([]);
  });

  it('rolls its transaction back when the server is gone, and leaves nothing there', async () => {
    const { line, draft, isStored } = await withDatabase();
    await line.cut();
    const { transaction, job } = draft();
    await expect(job.start()).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect(transaction.isActive()).toBe(false);
    await expect(isStored(job.gid)).resolves.toBe('none');
  });

  it('runs once, and its caller succeeds, when the answer to its submit is lost', async () => {
    const { line, app, draft, ends } = await withDatabase();
    line.once('submit', 'answer');
    const { job } = draft();
    await expect(job.start()).resolves.toMatchObject({ status: 'submitted' });
    await ends(job.gid);
    expect(line.arrived.filter((verb) => verb === 'submit')).toHaveLength(1);
    expect(app.ran).toEqual([`${job.gid}:1`, `${job.gid}:2`]);
    expect([...app.told].sort()).toEqual([`job.submitted ${job.gid}`, `job.succeeded ${job.gid}`].sort());
  });

  it('runs, and its caller succeeds, when no submit comes through', async () => {
    const { line, app, draft, ends } = await withDatabase();
    line.always('submit', 'request');
    const { job } = draft();
    await expect(job.start()).resolves.toMatchObject({ status: 'submitted' });
    expect(app.told).toEqual([`job.submit-deferred ${job.gid}`]);
    await ends(job.gid);
    expect(app.ran).toEqual([`${job.gid}:1`, `${job.gid}:2`]);
  });

  it('is not run twice by a submit that comes to the server while its steps run', async () => {
    const gate = Promise.withResolvers<void>();
    const starts: number[] = [];
    const slow = defineStep({
      name: 'slow',
      args: unchecked<{ n: number }>(),
      async run({ args }) {
        starts.push(args.n);
        await gate.promise;
      },
    });
    const line = await Line.to(serverUrl);
    const app = await aDtmApp({ serverUrl: line.url, steps: [slow] });
    await until('the self-test is over', () => app.callbacks.length > 0);
    line.once('submit', 'late');
    const { gid } = await app.stepping.createJob().addStep(slow, { n: 1 }).addStep(slow, { n: 2 }).start();
    await until('its first step runs', () => starts.length > 0);
    await line.deliver();
    // The server begins with the first step again, beside the pass that is under way: it does not take it for done.
    const status = async () => (await app.stepping.jobs.find(gid))?.status;
    await until(
      'the server has called again, or has done with it',
      async () => app.callbacks.filter(({ kind }) => kind === 'step').length > 1 || (await status()) !== 'submitted',
    );
    await expect(status()).resolves.toBe('submitted');
    gate.resolve();
    await expect(app.stepping.jobs.wait(gid, { timeoutMs: 50_000 })).resolves.toMatchObject({ status: 'succeeded' });
    expect(starts).toEqual([1, 2]);
  });

  it('is not run twice by a submit that comes to the server after the query-back', async () => {
    const { line, app, draft, ends } = await withDatabase();
    const { job } = draft();
    line.once('submit', 'late');
    line.once('submit', 'request');
    await job.start();
    await ends(job.gid);
    await line.deliver();
    await until('the server has answered it', () => line.arrived.includes('submit'));
    expect(app.ran).toEqual([`${job.gid}:1`, `${job.gid}:2`]);
    await expect(ends(job.gid)).resolves.toMatchObject({ status: 'succeeded' });
  });
});

dtm.describe('two transactions with one gid, on DTM', () => {
  it('are told apart: the second is in doubt while the first is open, a duplicate when it has committed', async () => {
    const { line, app, prepared, draft, ends } = await withDatabase();
    const gid = `order-${newGid()}`;
    const first = await prepared(gid);
    const second = draft(gid);
    await expect(second.job.prepare()).rejects.toMatchObject({ code: 'JOB_IN_DOUBT' });
    // DTM's abort knows no instance: it would have ended the first one.
    expect(line.arrived).not.toContain('abort');
    await first.transaction.commit();
    await first.job.submit();
    await ends(gid);
    await expect(draft(gid).job.start()).rejects.toMatchObject({ code: 'JOB_DUPLICATE' });
    expect(app.ran).toEqual([`${gid}:1`, `${gid}:2`]);
  });

  it('are told apart also when nobody heard what became of the prepare of the second', async () => {
    const { line, app, prepared, draft, ends } = await withDatabase();
    const gid = `order-${newGid()}`;
    const first = await prepared(gid);
    line.once('prepare', 'answer');
    const second = draft(gid);
    await expect(second.job.start()).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect(line.arrived).not.toContain('abort');
    await first.transaction.commit();
    await first.job.submit();
    await expect(ends(gid)).resolves.toMatchObject({ status: 'succeeded' });
    expect(app.ran).toEqual([`${gid}:1`, `${gid}:2`]);
  });

  it('are told apart also when the first one submits after the server has forgotten it, and the second has taken the gid', async () => {
    const { line, db, app, prepared, statusOf, ends } = await withDatabase();
    line.once('prepare', (response) => response.writeHead(200).end('{"dtm_result":"SUCCESS"}'));
    const { transaction, job } = await prepared();
    await transaction.commit();
    const elsewhere = await aDtmApp({ serverUrl, use: db });
    const second = { transaction: memoryTransaction(db) };
    await elsewhere.stepping.createJob({ gid: job.gid, transaction: second.transaction }).addStep(note, { n: 3 }).prepare();
    await until('the first one is no longer sure of its message', () => elsewhere.callbacks.some(({ kind }) => kind === 'question'));
    await job.submit();
    await expect(statusOf(job.gid)).resolves.toBe('prepared');
    expect([...app.ran, ...elsewhere.ran]).toEqual([]);
    await second.transaction.rollback();
    await expect(ends(job.gid)).resolves.toMatchObject({ status: 'rolled-back' });
  });
});
