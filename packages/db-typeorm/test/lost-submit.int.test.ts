import { afterEach, expect, it } from '@jest/globals';
import { defineStep } from '@stepping/core';
import { testService } from '@stepping/test-services';
import { localTm } from '@stepping/tm-local';
import { hostedProcessor } from '@stepping/tm-local-hosted-processor';
import { typeormStore } from '@stepping/tm-local-typeorm';
import { DataSource } from 'typeorm';
import { inTransaction, typeormDb } from '../src/index.js';
import { started } from './support/apps.js';
import { postgres } from './support/databases.js';
import { closeAll, opened } from './support/opened.js';
import { until } from './support/until.js';

const own = await testService('postgres-own');

/** Until the server crashes before it has flushed what it need not have. */
const ROUNDS = 20;

afterEach(closeAll);

own.describe('a submit that the server of the store had answered and lost in a crash', () => {
  it('is made up for by the query-back: the job runs', async () => {
    const orders = await opened(postgres.open());
    const jobs = await opened(new DataSource({ type: 'postgres', url: await own.database(), poolErrorHandler: () => {} }));
    // From its next start on.
    await jobs.query(`alter system set wal_writer_delay = '10s'`);
    await own.restart();
    await until(() => jobs.query('select 1').catch(() => false));

    const ran: string[] = [];
    const note = defineStep({ name: 'note', run: ({ gid }) => void ran.push(gid) });
    const app = (processor: false | ReturnType<typeof hostedProcessor>) =>
      started({
        steps: [note],
        tm: localTm({ store: typeormStore({ dataSource: jobs }), processor, prepareTimeoutMs: 500 }),
        use: [typeormDb({ dataSource: orders })],
      });
    const starting = await app(false);
    const submitted: string[] = [];
    starting.on('job.submitted', ({ gid }) => void submitted.push(gid));
    const gids: string[] = [];
    let lost = 0;
    for (let round = 0; round < ROUNDS && lost === 0; round++) {
      const gid = await inTransaction(starting, orders, async ({ job }) => job.addStep(note).gid);
      gids.push(gid);
      expect(submitted).toContain(gid);
      await own.restart();
      const found = await until(() => starting.jobs.find(gid).catch(() => undefined));
      if (found.status === 'prepared') lost++;
    }
    expect(lost).toBe(1);

    await app(hostedProcessor({ maxPollMs: 100 }));
    await until(() => gids.every((gid) => ran.includes(gid)));
    expect(ran.toSorted()).toEqual(gids.toSorted());
  });
});
