import { afterEach, beforeAll, expect, it } from '@jest/globals';
import { defineStep, unchecked } from '@stepping/core';
import { type DtmServerProcess, startDtm, testService } from '@stepping/test-services';
import { memoryDb, memoryTransaction } from '@stepping/tm-local/testing';
import { aDtmApp, note, stopDtmApps, until } from './support/dtm-app.js';

const dtm = await testService('dtm-own');
afterEach(stopDtmApps);

dtm.describe('An app whose DTM server is killed', () => {
  let server: DtmServerProcess;
  beforeAll(async () => {
    server = await startDtm();
  });

  it('refuses transactions while it is away, starts jobs as soon as it is back, and need not be started again for that', async () => {
    const db = memoryDb();
    const app = await aDtmApp({ serverUrl: server.url, use: db });
    await server.kill();
    const transaction = memoryTransaction(db);
    await expect(app.stepping.createJob({ transaction }).addStep(note, { n: 1 }).start()).rejects.toMatchObject({
      code: 'STORE_UNAVAILABLE',
    });
    expect(transaction.isActive()).toBe(false);

    const starting = app.stepping.createJob().addStep(note, { n: 2 }).start();
    await server.restart();
    const { gid } = await starting;
    await expect(app.stepping.jobs.wait(gid, { timeoutMs: 50_000 })).resolves.toMatchObject({ status: 'succeeded' });
    expect(app.ran).toEqual([`${gid}:2`]);
  });

  it('runs what was committed when it died before it was told so', async () => {
    const db = memoryDb();
    const app = await aDtmApp({ serverUrl: server.url, use: db });
    const transaction = memoryTransaction(db);
    const job = app.stepping.createJob({ transaction }).addStep(note, { n: 1 });
    await job.prepare();
    await transaction.commit();
    await server.kill();
    await expect(job.submit()).resolves.toBe('submitted');
    expect(app.told).toEqual([`job.submit-deferred ${job.gid}`]);
    await server.restart();
    await expect(app.stepping.jobs.wait(job.gid, { timeoutMs: 50_000 })).resolves.toMatchObject({ status: 'succeeded' });
    expect(app.ran).toEqual([`${job.gid}:1`]);
  });

  it('goes on where it was, and repeats nothing that was done', async () => {
    const starts: number[] = [];
    let die = async () => {};
    const slow = defineStep({
      name: 'slow',
      args: unchecked<{ n: number }>(),
      async run({ args }) {
        starts.push(args.n);
        if (args.n === 2) await die();
      },
    });
    const app = await aDtmApp({ serverUrl: server.url, steps: [slow] });
    // Nobody is there who could hear that this step is done.
    die = () => server.kill();
    const { gid } = await app.stepping.createJob().addStep(slow, { n: 1 }).addStep(slow, { n: 2 }).addStep(slow, { n: 3 }).start();
    await until('its second step is done', () => starts.length === 2);
    await server.restart();
    await expect(app.stepping.jobs.wait(gid, { timeoutMs: 50_000 })).resolves.toMatchObject({ status: 'succeeded' });
    expect(starts).toEqual([1, 2, 3]);
  }, 60_000);
});
