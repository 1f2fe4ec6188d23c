import assert from 'node:assert/strict';
import { permanent, retryAfter, SteppingError } from '../../stepping-error.js';
import { aborted, aGate, rejectsWith, until } from './scene.js';
import type { Suite } from './suite.js';

export function describeAttempts({ describe, it, concurrently, scene }: Suite): void {
  describe('a step', () => {
    concurrently('that fails is run again, with the number of its attempt and the same key; those before it are not', async () => {
      const s = await scene();
      const { first, second } = s.steps;
      const gate = aGate();
      const job = s.job(async ({ args, attempt }) => {
        if (args.text !== 'fails') return;
        if (attempt < 3) throw new Error(`not yet: ${attempt}`);
        await gate.opened;
      });
      const { gid } = job.addStep(first, { text: '' }).addStep(second, { text: 'fails' }).addStep(second, { text: '' });
      await job.start();

      await until('the second attempt is made', () => s.attempts(gid).length >= 3);
      await until('its failure is seen', async () => (await s.app.jobs.find(gid))?.lastError?.message === 'not yet: 2');
      await until('the third attempt runs', () => s.attempts(gid).length >= 4);
      const running = await s.app.jobs.find(gid);
      assert.deepEqual([running?.status, running?.step, running?.attempt], ['submitted', 1, 3]);
      assert.deepEqual(running?.lastError, { name: 'Error', message: 'not yet: 2' });
      assert.deepEqual(
        running?.steps.map(({ status }) => status),
        ['succeeded', 'waiting', 'waiting'],
      );
      gate.open();
      const ended = await s.succeeded(gid);
      // The last one that there was.
      assert.deepEqual([ended.step, ended.attempt, ended.lastError], [3, 1, { name: 'Error', message: 'not yet: 2' }]);

      assert.deepEqual(s.attempts(gid), ['first 1', 'second 1', 'second 2', 'second 3', 'second 1']);
      const keys = s.calls(gid).map(({ idempotencyKey }) => idempotencyKey);
      const [zero, one, two] = new Set(keys);
      assert.deepEqual(keys, [zero, one, one, one, two]);
      const failures = s.told(gid).filter(({ name }) => name === 'step.failed');
      assert.deepEqual(
        failures.map(({ payload: { stepIndex, attempt, error } }) => [stepIndex, attempt, error.message]),
        [
          [1, 1, 'not yet: 1'],
          [1, 2, 'not yet: 2'],
        ],
      );
      for (const { payload } of failures) assert.ok(payload.nextAttemptAt instanceof Date);
    });

    concurrently('that takes longer than its timeout fails, and its signal is aborted', async () => {
      const s = await scene();
      const reasons: unknown[] = [];
      const job = s.job(async ({ attempt, signal }) => {
        if (attempt === 1) reasons.push(await aborted(signal));
      });
      await job.addStep(s.steps.hasty, { text: '' }).start();
      await s.succeeded(job.gid);
      assert.deepEqual(s.attempts(job.gid), ['hasty 1', 'hasty 2']);
      assert.ok(SteppingError.is(reasons[0], 'STEP_TIMEOUT'), String(reasons[0]));
    });

    concurrently('that runs when the transaction manager comes again is not run twice at once', async () => {
      const s = await scene();
      const job = s.job(({ step }) => (step === 'first' ? new Promise((resolve) => setTimeout(resolve, 3_000)) : undefined));
      await job.addStep(s.steps.first, { text: '' }).addStep(s.steps.second, { text: '' }).start();
      await s.succeeded(job.gid);
      assert.deepEqual(s.attempts(job.gid), ['first 1', 'second 1']);
    });

    concurrently('that asks to wait is not run before', async () => {
      const s = await scene();
      const job = s.job(({ attempt }) => {
        if (attempt === 1) throw retryAfter(2_500);
      });
      await job.addStep(s.steps.first, { text: '' }).start();
      await s.succeeded(job.gid);
      const [one, two, ...others] = s.calls(job.gid);
      assert.deepEqual([two?.attempt, others], [2, []]);
      // Two clocks, and the store's may know whole milliseconds only.
      assert.ok((two?.at ?? 0) - (one?.at ?? 0) >= 2_495);
    });

    concurrently('that fails for good makes the job fail, and nothing after it runs', async () => {
      const s = await scene();
      const { first, second, third } = s.steps;
      const job = s.job(({ step }) => {
        if (step === 'second') throw permanent('the account is closed');
      });
      const { gid } = job.addStep(first, { text: '' }).addStep(second, { text: '' }).addStep(third, { text: '' });
      await job.start();
      const ended = await s.finished(gid);
      assert.deepEqual([ended.status, ended.step, ended.dueAt], ['failed', 1, undefined]);
      assert.equal(ended.lastError?.message, 'the account is closed');
      assert.deepEqual(
        ended.steps.map(({ status }) => status),
        ['succeeded', 'failed', 'waiting'],
      );
      assert.deepEqual(s.attempts(gid), ['first 1', 'second 1']);
      await until('it is told', () => s.told(gid).some(({ name }) => name === 'job.failed'));
      assert.deepEqual(
        s
          .told(gid)
          .slice(-2)
          .map(({ name, payload }) => [name, payload.step, payload.error.message, payload.nextAttemptAt]),
        [
          ['step.failed', 'conformance.second', 'the account is closed', undefined],
          ['job.failed', 'conformance.second', 'the account is closed', undefined],
        ],
      );
      const again = s.job(undefined, { gid }).addStep(first, { text: '' });
      assert.deepEqual(await again.start(), { gid, status: 'failed', duplicate: true });
    });

    concurrently('whose attempts are used up makes the job fail; redriven it begins anew, at the same step', async () => {
      const s = await scene();
      const { first, limited, third } = s.steps;
      let broken = true;
      const job = s.job(({ step }) => {
        if (broken && step === 'limited') throw new Error('broken');
      });
      const { gid } = job.addStep(first, { text: '' }).addStep(limited, { text: '' }).addStep(third, { text: '' });
      await job.start();
      assert.equal((await s.finished(gid)).status, 'failed');
      assert.deepEqual(s.attempts(gid), ['first 1', 'limited 1', 'limited 2']);

      await s.app.jobs.redrive(gid);
      assert.equal((await s.finished(gid)).status, 'failed');
      assert.deepEqual(s.attempts(gid).slice(3), ['limited 1', 'limited 2']);

      broken = false;
      const results = await Promise.allSettled([s.app.jobs.redrive(gid), s.app.jobs.redrive(gid)]);
      assert.ok(results.some(({ status }) => status === 'fulfilled'));
      const ended = await s.succeeded(gid);
      assert.deepEqual(s.attempts(gid).slice(5), ['limited 1', 'third 1']);
      assert.deepEqual([ended.step, ended.attempt, ended.lastError], [3, 1, { name: 'Error', message: 'broken' }]);
      assert.deepEqual(
        ended.steps.map(({ status }) => status),
        ['succeeded', 'succeeded', 'succeeded'],
      );
      const keys = s.calls(gid).map(({ step, idempotencyKey }) => `${step} ${idempotencyKey}`);
      assert.equal(new Set(keys).size, 3);
      await rejectsWith(s.app.jobs.redrive(gid), 'JOB_STATUS');
    });

    concurrently('starts a job of its own once, however often it is run', async () => {
      const s = await scene();
      const { first, second } = s.steps;
      const started: unknown[] = [];
      let child = '';
      const job = s.job(async ({ attempt, createJob }) => {
        const own = createJob().addStep(second, { text: 'of the child' });
        child = own.gid;
        started.push(await own.start());
        if (attempt === 1) throw new Error('after its child was started');
      });
      await job.addStep(first, { text: '' }).start();
      await s.succeeded(job.gid);
      await s.succeeded(child);
      const duplicates = started.map((one) => (one as { duplicate: boolean }).duplicate);
      assert.deepEqual(duplicates, [false, true]);
      assert.deepEqual([s.attempts(job.gid), s.attempts(child)], [['first 1', 'first 2'], ['second 1']]);
    });

    it('has its effect once by once(), however often it is run', async () => {
      const s = await scene();
      const { once } = s.harness;
      if (!once) return;
      const { first, second } = s.steps;
      const ran: boolean[] = [];
      const job = s.job(async ({ gid, step, attempt, context }) => {
        const result = await once(context, (write) => write(`${gid} ${step}`));
        ran.push(result.ran);
        if (attempt === 1) throw new Error('after its effect');
      });
      const { gid } = job.addStep(first, { text: '' }).addStep(second, { text: '' });
      await job.start();
      await s.succeeded(gid);
      assert.deepEqual(ran, [true, false, true, false]);
      const written = await s.harness.written();
      assert.deepEqual(written.filter((text) => text.startsWith(gid)).sort(), [`${gid} first`, `${gid} second`]);
    });
  });
}
