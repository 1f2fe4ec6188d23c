import { strict as assert } from 'node:assert';
import { it } from '@jest/globals';
import { createStepping, defineStep, unchecked } from '@stepping/core';
import { testService } from '@stepping/test-services';
import { localTm } from '@stepping/tm-local';
import { hostedProcessor } from '@stepping/tm-local-hosted-processor';
import mongoose from 'mongoose';
import { mongooseStore } from '../src/index.js';

const mongodb = await testService('mongodb-own');

const JOBS = 300;

mongodb.describe('a MongoDB server that is killed and started again under work', () => {
  it('loses no job, and no job ends before its steps have run in their order', async () => {
    const connection = await mongoose.createConnection(await mongodb.database()).asPromise();
    const ran = new Map<string, string[]>();
    const steps = ['first', 'second', 'third'].map((name) =>
      defineStep({
        name,
        args: unchecked<{ job: string }>(),
        run: ({ args }) => {
          ran.set(args.job, [...(ran.get(args.job) ?? []), name]);
        },
      }),
    );
    const stepping = createStepping({ steps, tm: localTm({ store: mongooseStore({ connection }), processor: hostedProcessor() }) });
    await stepping.start();
    const gids = Array.from({ length: JOBS }, (_, i) => `job-${i}`);
    const started = gids.map((gid) =>
      startedAtLast(() => steps.reduce((job, step) => job.addStep(step, { job: gid }), stepping.createJob({ gid })).start()),
    );
    await until(() => ran.size > JOBS / 10);
    assert.ok([...ran.values()].flat().length < 3 * JOBS, 'All is done already: more jobs are needed.');
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
  }, 120_000);
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
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 50));
}
