import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, expect, it } from '@jest/globals';
import { defineStep, newGid, permanent, unchecked } from '@stepping/core';
import { typeormDb } from '@stepping/db-typeorm';
import { testService } from '@stepping/test-services';
import { memoryDb, memoryTransaction } from '@stepping/tm-local/testing';
import { DataSource } from 'typeorm';
import { aDtmApp, note, stopDtmApps, until } from './support/dtm-app.js';
import { startDtmInMariadb } from './support/dtm-in-mariadb.js';

const dtm = await testService('dtm-own');
const mariadb = await testService('mariadb');
let serverUrl = '';
afterEach(stopDtmApps);

// boltdb writes a message whole and has no limits; tables differ in both.
dtm.describe('A DTM server with its messages in tables', () => {
  mariadb.describe('of MariaDB', () => {
    beforeAll(async () => {
      serverUrl = (await startDtmInMariadb()).url;
    });

    it('runs jobs, tries again what failed, and asks what became of transactions', async () => {
      const db = memoryDb();
      let fails = 1;
      const flaky = defineStep({
        name: 'flaky',
        run() {
          if (fails-- > 0) throw new Error('not yet');
        },
      });
      const app = await aDtmApp({ serverUrl, steps: [note, flaky], use: db });
      const plain = await app.stepping
        .createJob({ gid: `order-${newGid()}` })
        .addStep(note, { n: 1 })
        .addStep(flaky)
        .addStep(note, { n: 2 })
        .start();
      const transactions = [memoryTransaction(db), memoryTransaction(db)] as const;
      const jobs = transactions.map((transaction) => app.stepping.createJob({ transaction }).addStep(note, { n: 3 }));
      for (const job of jobs) await job.prepare();
      await transactions[0].commit();
      await transactions[1].rollback();
      const statuses = [plain.gid, ...jobs.map(({ gid }) => gid)].map(
        async (gid) => (await app.stepping.jobs.wait(gid, { timeoutMs: 50_000 })).status,
      );
      await expect(Promise.all(statuses)).resolves.toEqual(['succeeded', 'succeeded', 'rolled-back']);
      expect([...app.ran].sort()).toEqual([`${plain.gid}:1`, `${plain.gid}:2`, `${jobs[0]?.gid}:3`].sort());
    });

    it('redrives, lists and settles them', async () => {
      let fails = true;
      const work = defineStep({
        name: 'work',
        args: unchecked<{ n: number }>(),
        run({ args }) {
          if (fails && args.n === 2) throw permanent('no');
        },
      });
      const dataSource = await new DataSource({
        type: 'better-sqlite3',
        database: join(mkdtempSync(join(tmpdir(), 'dtm-in-mariadb-')), 'a.sqlite'),
      }).initialize();
      const app = await aDtmApp({ serverUrl, steps: [work], use: typeormDb({ dataSource }) });
      const { jobs } = app.stepping;
      const tenant = newGid();
      const { gid } = await app.stepping.createJob({ tenant }).addStep(work, { n: 1 }).addStep(work, { n: 2 }).start();
      await expect(jobs.wait(gid, { timeoutMs: 50_000 })).resolves.toMatchObject({ status: 'failed', step: 1 });
      await expect(jobs.list({ tenant, status: 'failed' })).resolves.toMatchObject({ jobs: [{ gid }] });
      fails = false;
      await jobs.redrive(gid);
      await expect(jobs.wait(gid, { timeoutMs: 50_000 })).resolves.toMatchObject({ status: 'succeeded' });
      await expect(jobs.list({ tenant })).resolves.toMatchObject({ jobs: [{ gid, status: 'succeeded' }] });
      await app.stop();
      await dataSource.destroy();
    });

    it('refuses a job that is larger than its columns, before anything of it is stored', async () => {
      const app = await aDtmApp({ serverUrl });
      const large = app.stepping.createJob().addStep(note, { n: 1, text: 'x'.repeat(70_000) } as { n: number });
      await expect(large.start()).rejects.toMatchObject({ code: 'JOB_TOO_LARGE', message: expect.stringMatching(/bin_data/) });
      await expect(app.stepping.jobs.find(large.gid)).resolves.toBeUndefined();
      const db = memoryDb();
      const other = await aDtmApp({ serverUrl, use: db });
      const transaction = memoryTransaction(db);
      const tied = other.stepping.createJob({ transaction }).addStep(note, { n: 1, text: 'x'.repeat(70_000) } as { n: number });
      await expect(tied.start()).rejects.toMatchObject({ code: 'JOB_TOO_LARGE' });
      expect(transaction.isActive()).toBe(false);
      await until('nothing runs', () => app.ran.length === 0);
    });
  });
});
