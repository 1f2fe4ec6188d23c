import assert from 'node:assert/strict';
import type { DbTransaction } from '../../db-transaction.js';
import { newGid } from '../../gid.js';
import { rejectsWith, type Scene, until } from './scene.js';
import type { Suite } from './suite.js';

export function describeTransactions({ describe, it, scene, can }: Suite): void {
  describe('a job of a transaction', () => {
    it('runs when the transaction has committed', async () => {
      const s = await scene();
      const gid = newGid();
      await s.harness.inTransaction(s.app, { gid }, async ({ job, write }) => {
        await write(gid);
        job.addStep(s.steps.first, { text: 'a' }).addStep(s.steps.second, { text: 'b' });
        assert.equal(job.gid, gid);
        assert.equal(await s.statusOf(gid), undefined);
      });
      assert.equal(await isWritten(s, gid), true);
      await s.succeeded(gid);
      assert.deepEqual(s.attempts(gid), ['first 1', 'second 1']);
    });

    it('does not exist when the body of the transaction threw, whose error passes as it is', async () => {
      const s = await scene();
      const gid = newGid();
      const thrown = new Error('out of stock');
      await assert.rejects(
        s.harness.inTransaction(s.app, { gid }, async ({ job, write }) => {
          job.addStep(s.steps.first, { text: '' });
          await write(gid);
          throw thrown;
        }),
        (error) => error === thrown,
      );
      assert.deepEqual([await isWritten(s, gid), await s.statusOf(gid)], [false, undefined]);
      // And so its gid is free.
      await s.harness.inTransaction(s.app, { gid }, async ({ job }) => void job.addStep(s.steps.first, { text: '' }));
      await s.succeeded(gid);
    });

    it('does not exist when the body added no steps; the transaction commits', async () => {
      const s = await scene();
      const gid = newGid();
      await s.harness.inTransaction(s.app, { gid }, ({ write }) => write(gid));
      assert.deepEqual([await isWritten(s, gid), await s.statusOf(gid)], [true, undefined]);
    });

    it('rolls a transaction back whose gid was used before', async () => {
      const s = await scene();
      const gid = newGid();
      const place = (text: string) =>
        s.harness.inTransaction(s.app, { gid }, async ({ job, write }) => {
          await write(text);
          job.addStep(s.steps.first, { text });
        });
      await place(`${gid} one`);
      await rejectsWith(place(`${gid} two`), 'JOB_DUPLICATE');
      await s.succeeded(gid);
      await rejectsWith(place(`${gid} three`), 'JOB_DUPLICATE');
      const plain = s.job(undefined, { gid }).addStep(s.steps.second, { text: '' });
      assert.deepEqual(await plain.start(), { gid, status: 'succeeded', duplicate: true });
      assert.deepEqual(
        (await s.harness.written()).filter((text) => text.startsWith(gid)),
        [`${gid} one`],
      );
      assert.deepEqual(s.attempts(gid), ['first 1']);
    });

    it('that commits by start() runs then', async () => {
      const s = await scene();
      const { job, held, gid } = await aHeldJob(s);
      assert.deepEqual(await job.start(), { gid, status: 'submitted', duplicate: false });
      assert.equal(held.transaction.isActive(), false);
      assert.equal(await isWritten(s, gid), true);
      await s.succeeded(gid);
      await held.end();
    });

    it('that the user commits is submitted by submit(), and not before', async () => {
      const s = await scene();
      const { job, held, gid } = await aHeldJob(s);
      await job.prepare();
      await rejectsWith(job.submit(), 'TX_STILL_ACTIVE');
      assert.deepEqual(s.attempts(gid), []);
      await held.transaction.commit?.();
      assert.equal(await job.submit(), 'submitted');
      await s.succeeded(gid);
      assert.deepEqual(s.attempts(gid), ['first 1']);
      await until('it is told', () => s.told(gid).some(({ name }) => name === 'job.submitted'));
      await held.end();
    });

    it('that the user rolled back is told so by submit(), and never runs; that gid may be started again, or never', async () => {
      const s = await scene();
      const { job, held, gid } = await aHeldJob(s);
      await job.prepare();
      await held.transaction.rollback();
      assert.equal(await job.submit(), 'rolled-back');
      assert.ok(isOver(await s.statusOf(gid)));
      await held.end();

      const again = s.job(undefined, { gid }).addStep(s.steps.second, { text: '' });
      if (can('revive') || (await s.statusOf(gid)) === undefined) {
        assert.deepEqual(await again.start(), { gid, status: 'submitted', duplicate: false });
        await s.succeeded(gid);
        assert.deepEqual(s.attempts(gid), ['second 1']);
      } else {
        await rejectsWith(again.start(), 'JOB_STATUS');
        const tied = await aHeldJob(s, gid);
        await rejectsWith(tied.job.start(), 'JOB_STATUS');
        await tied.held.end();
        assert.deepEqual([s.attempts(gid), await isWritten(s, gid)], [[], false]);
      }
    });

    it('whose outcome the user does not know is found out by resolve()', async () => {
      const s = await scene();
      const committed = await aHeldJob(s);
      await committed.job.prepare();
      await committed.held.transaction.commit?.();
      assert.equal(await committed.job.resolve(), 'committed');
      assert.equal(await committed.job.submit(), 'submitted');
      await committed.held.end();

      const lost = await aHeldJob(s);
      await lost.job.prepare();
      await lost.held.transaction.rollback();
      assert.equal(await lost.job.resolve(), 'rolled-back');
      assert.equal(await lost.job.submit(), 'rolled-back');
      assert.ok(isOver(await s.statusOf(lost.gid)));
      await lost.held.end();

      await s.succeeded(committed.gid);
      assert.deepEqual(s.attempts(lost.gid), []);
    });

    it('goes by what became of a commit whose answer was lost', async () => {
      const s = await scene();
      const committed = await aHeldJob(s, newGid(), (transaction) => unheardCommit(transaction, 'done'));
      assert.deepEqual(await committed.job.start(), { gid: committed.gid, status: 'submitted', duplicate: false });
      await committed.held.end();

      const lost = await aHeldJob(s, newGid(), (transaction) => unheardCommit(transaction, 'not done'));
      await assert.rejects(lost.job.start(), (error) => error === CONNECTION_LOST);
      await lost.held.end();

      await s.succeeded(committed.gid);
      assert.ok(isOver(await s.statusOf(lost.gid)));
      assert.deepEqual([await isWritten(s, committed.gid), await isWritten(s, lost.gid), s.attempts(lost.gid)], [true, false, []]);
    });

    it('is decided by the database when nobody says what became of its transaction', async () => {
      const s = await scene();
      const committed = await aHeldJob(s);
      await committed.job.prepare();
      await committed.held.transaction.commit?.();
      await committed.held.end();
      const lost = await aHeldJob(s);
      await lost.job.prepare();
      await lost.held.transaction.rollback();
      await lost.held.end();

      await s.succeeded(committed.gid);
      await until('the other one is over', async () => isOver(await s.statusOf(lost.gid)));
      assert.deepEqual([s.attempts(committed.gid), s.attempts(lost.gid)], [['first 1'], []]);
      if ((await s.statusOf(lost.gid)) === undefined) return; // stored by the transaction itself
      await until('it is told', () => s.told(lost.gid).length > 0);
      assert.deepEqual(
        s.told(lost.gid).map(({ name }) => name),
        ['job.rolled-back'],
      );
    });

    it('keeps its gid from others while it is open', async () => {
      const s = await scene();
      const { job, held, gid } = await aHeldJob(s);
      await job.prepare();
      const other = () => s.job(undefined, { gid }).addStep(s.steps.second, { text: '' }).start();
      await rejectsWith(other(), 'JOB_IN_DOUBT');
      await held.transaction.commit?.();
      assert.equal(await job.submit(), 'submitted');
      await held.end();
      await s.succeeded(gid);
      assert.deepEqual(await other(), { gid, status: 'succeeded', duplicate: true });
      assert.deepEqual(s.attempts(gid), ['first 1']);
    });

    it('is settled by hand where the database has no answer', async () => {
      const s = await scene();
      const { job, held, gid } = await aHeldJob(s);
      await job.prepare();
      // Where it is stored by the open transaction itself, nobody sees it yet.
      if ((await s.statusOf(gid)) === 'prepared') {
        await s.app.jobs.settle(gid, 'rolled-back', 'nobody will ever commit it');
        assert.equal(await s.statusOf(gid), 'rolled-back');
        assert.deepEqual(
          s.told(gid).map(({ name }) => name),
          ['job.rolled-back'],
        );
      } else {
        await rejectsWith(s.app.jobs.settle(gid, 'rolled-back', 'nobody will ever commit it'), 'JOB_NOT_FOUND');
      }
      await held.transaction.rollback();
      assert.equal(await job.submit(), 'rolled-back');
      await held.end();
      assert.deepEqual(s.attempts(gid), []);
    });

    it('is one of several that commit together', async () => {
      const s = await scene();
      const held = await s.begin();
      const jobs = [newGid(), newGid()].map((gid) =>
        s.app.createJob({ transaction: held.transaction, gid }).addStep(s.steps.first, { text: '' }),
      );
      for (const job of jobs) await job.prepare();
      await held.transaction.commit?.();
      for (const job of jobs) assert.equal(await job.submit(), 'submitted');
      await held.end();
      for (const { gid } of jobs) await s.succeeded(gid);
    });
  });
}

const CONNECTION_LOST = new Error('The connection was lost while the transaction committed.');

/** A job of one step, tied to a transaction that wrote its gid. */
async function aHeldJob(s: Scene, gid: string = newGid(), wrapped: (transaction: DbTransaction) => DbTransaction = (one) => one) {
  const held = await s.begin();
  await held.write(gid);
  const job = s.app.createJob({ transaction: wrapped(held.transaction), gid }).addStep(s.steps.first, { text: '' });
  return { held, job, gid };
}

function unheardCommit(transaction: DbTransaction, how: 'done' | 'not done'): DbTransaction {
  return {
    native: transaction.native,
    ref: (resolver) => transaction.ref(resolver),
    isActive: () => transaction.isActive(),
    insertBarrier: (gid, instance) => transaction.insertBarrier(gid, instance),
    deleteBarrier: (gid, instance) => transaction.deleteBarrier(gid, instance),
    rollback: () => transaction.rollback(),
    close: () => transaction.close(),
    commitOutcome: () => 'unknown',
    async commit() {
      if (how === 'done') await transaction.commit?.();
      else await transaction.rollback();
      throw CONNECTION_LOST;
    },
  };
}

async function isWritten(s: Scene, text: string): Promise<boolean> {
  return (await s.harness.written()).includes(text);
}

/** Where jobs are stored by the transaction itself, nothing is left of one that was rolled back. */
function isOver(status: string | undefined): boolean {
  return status === undefined || status === 'rolled-back';
}
