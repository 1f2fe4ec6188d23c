import { strict as assert } from 'node:assert';
import { it } from '@jest/globals';
import { createStepping, defineStep, unchecked } from '@stepping/core';
import { testService } from '@stepping/test-services';
import { localTm } from '@stepping/tm-local';
import { hostedProcessor } from '@stepping/tm-local-hosted-processor';
import mongoose from 'mongoose';
import { tcpProxy } from '../../tm-local-typeorm/test/tcp-proxy.js';
import { mongooseStore } from '../src/index.js';

const mongodb = await testService('mongodb-own');

const JOBS = 1_000;
/** What was claimed in an answer that is lost waits so long. Unit: ms. */
const LEASE_MS = 2_000;

mongodb.describe('a MongoDB server whose connections are cut, and that is killed and started again, under work', () => {
  it('loses no job, and no job ends before its steps have run in their order', async () => {
    const proxy = await tcpProxy(`${(await mongodb.database()).split('?')[0]}?directConnection=true`);
    const connection = await mongoose.createConnection(proxy.url).asPromise();
    const ran = new Map<string, string[]>();
    let runs = 0;
    const steps = ['first', 'second', 'third'].map((name) =>
      defineStep({
        name,
        args: unchecked<{ job: string }>(),
        run: ({ args }) => {
          runs++;
          ran.set(args.job, [...(ran.get(args.job) ?? []), name]);
        },
      }),
    );
    const stepping = createStepping({
      steps,
      tm: localTm({ store: mongooseStore({ connection }), processor: hostedProcessor(), leaseMs: LEASE_MS }),
    });
    await stepping.start();
    const gids = Array.from({ length: JOBS }, (_, i) => `job-${i}`);
    const started = gids.map((gid) =>
      startedAtLast(() => steps.reduce((job, step) => job.addStep(step, { job: gid }), stepping.createJob({ gid })).start()),
    );

    await until(() => runs > JOBS / 4);
    proxy.cut();
    proxy.heal();
    await until(() => runs > JOBS);
    assert.ok(runs < 3 * JOBS, 'All is done already: more jobs are needed.');
    await mongodb.restart();
    await Promise.all(started);

    await until(async () => (await stepping.jobs.stats().catch(() => undefined))?.succeeded === JOBS);
    for (const gid of gids) {
      const order = ran.get(gid) ?? [];
      const firsts = ['first', 'second', 'third'].map((name) => order.indexOf(name));
      assert.deepEqual([...firsts].sort(), firsts, `${gid} ran ${order}`);
      assert.ok(!firsts.includes(-1), `${gid} ran ${order}`);
    }
    await stepping.stop();
    await connection.close();
    await proxy.close();
  }, 300_000);
});

/** As the error of a start without an answer says: again, with the same gid. */
async function startedAtLast(start: () => Promise<unknown>): Promise<void> {
  for (;;) {
    try {
      await start();
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 20));
}
