import assert from 'node:assert/strict';
import { newGid } from '../../gid.js';
import { unchecked } from '../../schema.js';
import { declareStep } from '../../step.js';
import { SteppingError } from '../../stepping-error.js';
import { aborted, aGate, type Note, until } from './scene.js';
import type { Suite } from './suite.js';

export function describeProcesses({ describe, concurrently, openScene }: Suite): void {
  describe('a process', () => {
    concurrently('that stops lets its steps end and takes no more; another one goes on where it was', async () => {
      const s = await openScene();
      const stopped = await s.openApp();
      const gate = aGate();
      const job = s.job(({ step }) => (step === 'first' ? gate.opened : undefined));
      const { gid } = job.addStep(s.steps.first, { text: '' }).addStep(s.steps.second, { text: '' });
      await job.start();
      await until('the first step runs', () => s.attempts(gid).length === 1);
      const stopping = stopped.stop({ drainTimeoutMs: 20_000 });
      const refused = async () => {
        const start = stopped.createJob().addStep(s.steps.second, { text: '' }).start();
        return start.then(
          () => false,
          (error: unknown) => SteppingError.is(error, 'NOT_STARTED'),
        );
      };
      await until('it takes no more', refused);
      gate.open();
      await stopping;

      await s.openApp();
      await s.succeeded(gid);
      assert.deepEqual(s.attempts(gid), ['first 1', 'second 1']);
    });

    concurrently('that stops lets a transaction that is open commit; its job is run by another one, or before', async () => {
      const s = await openScene();
      const stopped = await s.openApp();
      const [begun, gate] = [aGate(), aGate()];
      const gid = newGid();
      const placing = s.harness.inTransaction(stopped, { gid }, async ({ job, write }) => {
        begun.open();
        await gate.opened;
        await write(gid);
        job.addStep(s.steps.first, { text: '' }).addStep(s.steps.second, { text: '' });
      });
      await begun.opened;
      const stopping = stopped.stop({ drainTimeoutMs: 20_000 });
      gate.open();
      await placing;
      await stopping;

      await s.openApp();
      await s.succeeded(gid);
      assert.deepEqual(s.attempts(gid), ['first 1', 'second 1']);
      assert.deepEqual(await s.harness.written(), [gid]);
    });

    concurrently('that stops in the middle of a step does not count that attempt', async () => {
      const s = await openScene();
      const stopped = await s.openApp();
      const reasons: unknown[] = [];
      const job = s.job(async ({ signal }) => {
        if (reasons.length > 0) return;
        reasons.push(await aborted(signal));
        throw new Error('interrupted');
      });
      await job.addStep(s.steps.limited, { text: '' }).start();
      await until('the step runs', () => s.attempts(job.gid).length === 1);
      await stopped.stop({ drainTimeoutMs: 0 });
      assert.ok(SteppingError.is(reasons[0], 'NOT_STARTED'), String(reasons[0]));

      await s.openApp();
      await s.succeeded(job.gid);
      assert.deepEqual(s.attempts(job.gid), ['limited 1', 'limited 1']);
    });

    concurrently('that does not have a step leaves it to one that has it', async () => {
      const s = await openScene();
      const { first, third } = s.steps;
      const old = await s.openApp([first]);
      const contract = declareStep({ name: third.name, args: unchecked<Note>() });
      const job = s.job().addStep(first, { text: '' }).addStep(contract, { text: 'new' });
      await job.start();
      await until('it is told that the step cannot be run', () => s.told(job.gid).some(({ name }) => name === 'step.unrunnable'));
      assert.equal((await s.app.jobs.find(job.gid))?.status, 'submitted');
      await old.stop();

      await s.openApp();
      await s.succeeded(job.gid);
      assert.deepEqual(s.attempts(job.gid), ['first 1', 'third 1']);
    });
  });
}
