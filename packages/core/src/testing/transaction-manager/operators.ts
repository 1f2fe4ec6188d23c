import assert from 'node:assert/strict';
import { newGid } from '../../gid.js';
import type { JobFilter } from '../../jobs.js';
import { permanent, retryAfter } from '../../stepping-error.js';
import { rejectsWith, type Scene, until } from './scene.js';
import type { Suite } from './suite.js';

const HOUR_MS = 3_600_000;

export function describeOperators({ describe, concurrently, scene, can }: Suite): void {
  describe('an operator', () => {
    concurrently('who asks for a job that is not there is told so', async () => {
      const { app } = await scene();
      const gid = newGid();
      assert.equal(await app.jobs.find(gid), undefined);
      await rejectsWith(app.jobs.wait(gid, { timeoutMs: 1_000 }), 'JOB_NOT_FOUND');
      await rejectsWith(app.jobs.redrive(gid), 'JOB_NOT_FOUND');
      await rejectsWith(app.jobs.settle(gid, 'rolled-back', 'it is not there'), 'JOB_NOT_FOUND');
    });

    concurrently('who does not want to wait any longer is told where the job is', async () => {
      const s = await scene();
      const job = s.job(({ attempt }) => {
        if (attempt === 1) throw retryAfter(60_000);
      });
      await job.addStep(s.steps.first, { text: '' }).start();
      await rejectsWith(s.app.jobs.wait(job.gid, { timeoutMs: 200 }), 'WAIT_TIMEOUT');
    });

    concurrently('lists jobs by status, tenant and time, page by page', async () => {
      const s = await scene();
      const tenant = newGid();
      const start = async (fails: boolean) => {
        const job = s.job(
          () => {
            if (fails) throw permanent('no');
          },
          { tenant },
        );
        await job.addStep(s.steps.first, { text: '' }).start();
        await s.finished(job.gid);
        return job.gid;
      };
      const succeeded = [await start(false), await start(false), await start(false)];
      const failed = [await start(true), await start(true)];

      assert.deepEqual(await listed(s, { tenant }), [...succeeded, ...failed].sort());
      assert.deepEqual(await listed(s, { tenant, limit: 2 }), [...succeeded, ...failed].sort());
      assert.deepEqual(await listed(s, { tenant, limit: 1, status: ['failed', 'prepared'] }), failed.sort());
      assert.deepEqual(await listed(s, { tenant, status: 'succeeded' }), succeeded.sort());
      assert.deepEqual(await listed(s, { tenant, status: 'submitted' }), []);
      assert.deepEqual(await listed(s, { tenant, createdAfter: new Date(Date.now() - HOUR_MS) }), [...succeeded, ...failed].sort());
      assert.deepEqual(await listed(s, { tenant, createdAfter: new Date(Date.now() + HOUR_MS) }), []);
      assert.deepEqual(await listed(s, { tenant, createdBefore: new Date(Date.now() - HOUR_MS) }), []);
      const { jobs } = await s.app.jobs.list({ tenant, status: 'failed', limit: 1_000 });
      assert.deepEqual(jobs[0], await s.app.jobs.find(jobs[0]?.gid ?? ''));
    });

    concurrently('redrives all failed jobs that fit', async () => {
      const s = await scene();
      const [tenant, other] = [newGid(), newGid()];
      let broken = true;
      const start = async (of: string) => {
        const job = s.job(
          () => {
            if (broken) throw permanent('no');
          },
          { tenant: of },
        );
        await job.addStep(s.steps.first, { text: '' }).start();
        await s.finished(job.gid);
        return job.gid;
      };
      const gids = [await start(tenant), await start(tenant)];
      const kept = await start(other);
      broken = false;
      assert.deepEqual(await s.app.jobs.redriveAll({ tenant }), { redriven: 2 });
      for (const gid of gids) await s.succeeded(gid);
      assert.equal(await s.statusOf(kept), 'failed');
    });

    concurrently('settles and redrives nothing that is finished', async () => {
      const s = await scene();
      const job = s.job().addStep(s.steps.first, { text: '' });
      await job.start();
      await s.succeeded(job.gid);
      await rejectsWith(s.app.jobs.settle(job.gid, 'rolled-back', 'a try'), 'JOB_STATUS');
      await rejectsWith(s.app.jobs.redrive(job.gid), 'JOB_STATUS');
      assert.equal(await s.statusOf(job.gid), 'succeeded');
    });

    concurrently(can('cancel') ? 'cancels a job: no further step of it runs' : 'cannot cancel a job, and is told so', async () => {
      const s = await scene();
      const job = s.job(({ attempt }) => {
        if (attempt === 1) throw retryAfter(can('cancel') ? 60_000 : 500);
      });
      const { gid } = job.addStep(s.steps.first, { text: '' }).addStep(s.steps.second, { text: '' });
      await job.start();
      await until('the first attempt has failed', () => s.told(gid).some(({ name }) => name === 'step.failed'));
      if (can('cancel')) {
        await s.app.jobs.cancel(gid, 'nobody wants it');
        assert.equal((await s.finished(gid)).status, 'cancelled');
        assert.deepEqual(s.attempts(gid), ['first 1']);
        await rejectsWith(s.app.jobs.cancel(gid), 'JOB_STATUS');
      } else {
        await rejectsWith(s.app.jobs.cancel(gid, 'nobody wants it'), 'UNSUPPORTED_BY_TM');
        await s.succeeded(gid);
      }
    });

    concurrently(can('stats') ? 'counts jobs by status' : 'cannot count jobs, and is told so', async () => {
      const s = await scene();
      const job = s.job().addStep(s.steps.first, { text: '' });
      await job.start();
      await s.succeeded(job.gid);
      if (!can('stats')) return rejectsWith(s.app.jobs.stats(), 'UNSUPPORTED_BY_TM');
      const stats = await s.app.jobs.stats();
      assert.ok(stats.succeeded >= 1);
      assert.ok([stats.oldestDueMs, stats.oldestPreparedMs].every((ms) => ms >= 0));
    });

    concurrently(can('purge') ? 'purges finished jobs, but no young one' : 'cannot purge jobs, and is told so', async () => {
      const s = await scene();
      const job = s.job().addStep(s.steps.first, { text: '' });
      await job.start();
      await s.succeeded(job.gid);
      const purge = () => s.app.jobs.purge({ finishedBefore: new Date() });
      if (!can('purge')) return rejectsWith(purge(), 'UNSUPPORTED_BY_TM');
      await purge();
      assert.equal(await s.statusOf(job.gid), 'succeeded');
    });

    concurrently(can('list-by-step') ? 'lists jobs by the step that they are at' : 'cannot list jobs by step, and is told so', async () => {
      const s = await scene();
      const tenant = newGid();
      const job = s.job(
        ({ step }) => {
          if (step === 'second') throw permanent('no');
        },
        { tenant },
      );
      await job.addStep(s.steps.first, { text: '' }).addStep(s.steps.second, { text: '' }).start();
      await s.finished(job.gid);
      const at = (step: keyof Scene['steps']) => listed(s, { tenant, step: s.steps[step] });
      if (!can('list-by-step')) return rejectsWith(at('second'), 'UNSUPPORTED_BY_TM');
      assert.deepEqual([await at('first'), await at('second')], [[], [job.gid]]);
    });
  });
}

/** The gids of all pages, sorted; fails if one comes twice. */
async function listed(s: Scene, filter: JobFilter): Promise<readonly string[]> {
  const gids: string[] = [];
  let cursor: string | undefined;
  do {
    const page = await s.app.jobs.list({ ...filter, ...(cursor === undefined ? {} : { cursor }) });
    gids.push(...page.jobs.map(({ gid }) => gid));
    assert.ok(page.jobs.length <= (filter.limit ?? 100));
    cursor = page.cursor;
  } while (cursor !== undefined);
  assert.equal(new Set(gids).size, gids.length);
  return gids.sort();
}
