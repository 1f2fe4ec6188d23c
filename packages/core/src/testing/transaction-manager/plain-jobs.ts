import assert from 'node:assert/strict';
import { SteppingError } from '../../stepping-error.js';
import { aGate, rejectsWith, until } from './scene.js';
import type { Suite } from './suite.js';

/** Longer than what a database would keep in a short column, with the words that some transaction managers look for. Unit: characters. */
const LARGE = 100_000;

export function describePlainJobs({ describe, concurrently, scene }: Suite): void {
  describe('a job without a transaction', () => {
    concurrently('runs its steps one after the other, each with its args, and is succeeded then', async () => {
      const s = await scene();
      const { first, second, third } = s.steps;
      const job = s.job().addStep(first, { text: 'a "ü"\n' }).addStep(second, { text: 'b' }).addStep(third, { text: 'c' });
      assert.deepEqual(await job.start(), { gid: job.gid, status: 'submitted', duplicate: false });
      const info = await s.succeeded(job.gid);

      assert.deepEqual(s.attempts(job.gid), ['first 1', 'second 1', 'third 1']);
      assert.deepEqual(
        s.calls(job.gid).map(({ args }) => args.text),
        ['a "ü"\n', 'b', 'c'],
      );
      const { createdAt, steps, ...others } = info;
      assert.ok(Math.abs(createdAt.getTime() - Date.now()) < 60_000, String(createdAt));
      assert.deepEqual(others, { gid: job.gid, status: 'succeeded', dueAt: undefined, step: 3, attempt: 1, lastError: undefined });
      assert.deepEqual(steps, [
        { name: 'conformance.first', status: 'succeeded', args: { text: 'a "ü"\n' } },
        { name: 'conformance.second', status: 'succeeded', args: { text: 'b' } },
        { name: 'conformance.third', status: 'succeeded', args: { text: 'c' } },
      ]);
      assert.deepEqual(await s.app.jobs.find(job.gid), info);
    });

    concurrently('tells what happens, each thing once and in order', async () => {
      const s = await scene();
      const { first, second } = s.steps;
      const job = s.job(undefined, { tenant: 'acme' }).addStep(first, { text: '' }).addStep(second, { text: '' });
      await job.start();
      await s.succeeded(job.gid);
      await until('all is told', () => s.told(job.gid).length >= 6);

      const told = s.told(job.gid);
      const { gid } = job;
      const of = (name: string, stepIndex: number) => ({ gid, tenant: 'acme', step: `conformance.${name}`, stepIndex, attempt: 1 });
      assert.deepEqual(
        told
          .filter(({ name }) => name !== 'job.submitted')
          .map(({ name, payload: { durationMs, ...payload } }) => ({ name, ...payload, timed: durationMs >= 0 })),
        [
          { name: 'step.started', ...of('first', 0), timed: false },
          { name: 'step.succeeded', ...of('first', 0), timed: true },
          { name: 'step.started', ...of('second', 1), timed: false },
          { name: 'step.succeeded', ...of('second', 1), timed: true },
          { name: 'job.succeeded', gid, tenant: 'acme', timed: false },
        ],
      );
      // The first step may be quicker than the answer to the start.
      assert.deepEqual(
        told.filter(({ name }) => name === 'job.submitted').map(({ payload }) => payload),
        [{ gid, tenant: 'acme' }],
      );
    });

    concurrently('hands its tenant to every step', async () => {
      const s = await scene();
      const { first, second } = s.steps;
      const job = s.job(undefined, { tenant: 'Acme & Söhne' }).addStep(first, { text: '' }).addStep(second, { text: '' });
      await job.start();
      await s.succeeded(job.gid);
      assert.deepEqual(
        s.calls(job.gid).map(({ tenant }) => tenant),
        ['Acme & Söhne', 'Acme & Söhne'],
      );
      assert.equal((await s.app.jobs.find(job.gid))?.tenant, 'Acme & Söhne');
    });

    concurrently('keeps large args as they are, whatever is in them', async () => {
      const s = await scene();
      const { first } = s.steps;
      const text = 'FAILURE ONGOING \u2028 \u{1f600} \\u0041 %2e ;\r\n'.repeat(LARGE / 40);
      const job = s.job().addStep(first, { text });
      await job.start();
      await s.succeeded(job.gid);
      assert.equal(s.calls(job.gid)[0]?.args.text, text);
    });

    concurrently('may have a gid of any length and case, which no other one is taken for', async () => {
      const s = await scene();
      const { first, second } = s.steps;
      const unique = `Gid_${Math.random().toString(36).slice(2)}`;
      const gids = [unique, `${unique}0`, `${unique}0-1`, unique.toLowerCase(), unique.padEnd(128, 'x')];
      for (const gid of gids) await s.job(undefined, { gid }).addStep(first, { text: gid }).addStep(second, { text: gid }).start();
      for (const gid of gids) {
        const info = await s.succeeded(gid);
        assert.equal(info.gid, gid);
        assert.deepEqual(
          s.calls(gid).map(({ args }) => args.text),
          [gid, gid],
        );
      }
    });

    concurrently('that is started again by another call is a duplicate, which is told what became of the first', async () => {
      const s = await scene();
      const { first, second } = s.steps;
      const gate = aGate();
      const job = s.job(() => gate.opened).addStep(first, { text: 'the first' });
      const { gid } = job;
      const again = () => s.job(undefined, { gid }).addStep(second, { text: 'another' }).start();
      await job.start();
      assert.deepEqual(await again(), { gid, status: 'submitted', duplicate: true });
      gate.open();
      await s.succeeded(gid);
      assert.deepEqual(await again(), { gid, status: 'succeeded', duplicate: true });
      assert.deepEqual(s.attempts(gid), ['first 1']);
      await rejectsWith(job.start(), 'JOB_ALREADY_STARTED');
    });

    concurrently('is stored once, however many start it at the same time', async () => {
      const s = await scene();
      const { first } = s.steps;
      const { gid } = s.job();
      const starts = Array.from({ length: 6 }, () => s.job(undefined, { gid }).addStep(first, { text: '' }).start());
      const results = await Promise.allSettled(starts);
      assert.equal(results.filter((one) => one.status === 'fulfilled' && !one.value.duplicate).length, 1);
      for (const one of results) {
        if (one.status === 'rejected') assert.ok(SteppingError.is(one.reason, 'JOB_IN_DOUBT'), String(one.reason));
      }
      await s.succeeded(gid);
      assert.deepEqual(s.attempts(gid), ['first 1']);
    });

    concurrently('waits for no other one', async () => {
      const s = await scene();
      const { first, second, third } = s.steps;
      const gate = aGate();
      const slow = s.job(() => gate.opened).addStep(first, { text: '' });
      await slow.start();
      const quick = Array.from({ length: 20 }, () => s.job().addStep(second, { text: '' }).addStep(third, { text: '' }));
      await Promise.all(quick.map((job) => job.start()));
      for (const { gid } of quick) await s.succeeded(gid);
      assert.equal(await s.statusOf(slow.gid), 'submitted');
      gate.open();
      await s.succeeded(slow.gid);
    });
  });
}
