import { anApp, close, errorOf, stopApps, type TestApp } from '../test/support/an-app.js';
import { type BusinessTransaction, DriverError } from '../test/support/business-database.js';
import { MemoryTm } from '../test/support/memory-tm.js';
import type { TransactionJob } from './index.js';

afterEach(stopApps);

async function aScene(): Promise<TestApp & { transaction: BusinessTransaction; job: TransactionJob }> {
  const app = await anApp({ tm: new MemoryTm({ enlists: true }) });
  const transaction = app.database.begin();
  return { ...app, transaction, job: app.stepping.createJob({ gid: 'g', transaction }).addStep(close) };
}

describe('A job in the database of its transaction', () => {
  it('is one row of the transaction: no barrier, no prepared state, no submit', async () => {
    const { job, transaction, tm, told } = await aScene();
    await expect(job.start()).resolves.toEqual({ gid: 'g', status: 'submitted', duplicate: false });
    expect(transaction.calls).toEqual(['commit']);
    expect(tm.calls).toEqual(['enlisted.prepare']);
    expect(tm.statusOf('g')).toBe('submitted');
    expect(tm.told).toEqual(['committed']);
    expect(told).toEqual(['job.submitted g']);
  });

  it('is stored claimed only when we commit ourselves', async () => {
    const { stepping, database, tm, job } = await aScene();
    const claims: boolean[] = [];
    const enlist = tm.enlist.bind(tm);
    tm.enlist = (transaction) => {
      const enlisted = enlist(transaction);
      if (!enlisted) return undefined;
      return {
        ...enlisted,
        prepare(prepared, options) {
          claims.push(options.claimed);
          return enlisted.prepare(prepared, options);
        },
      };
    };
    await job.start();
    await stepping.createJob({ transaction: database.begin() }).addStep(close).prepare();
    expect(claims).toEqual([true, false]);
  });

  it('is submitted by the commit of the user; submit() sees the row and wakes a processor', async () => {
    const { job, transaction, tm, told } = await aScene();
    await job.prepare();
    expect((await errorOf(() => job.submit())).code).toBe('TX_STILL_ACTIVE');
    expect(tm.statusOf('g')).toBeUndefined();
    await transaction.userCommits();
    await expect(job.submit()).resolves.toBe('submitted');
    expect(tm.told).toEqual(['committed']);
    expect(told).toEqual(['job.submitted g']);
  });

  it('is gone with a rollback, and submit() says so', async () => {
    const { job, transaction, tm, told } = await aScene();
    await job.prepare();
    await transaction.rollback();
    await expect(job.submit()).resolves.toBe('rolled-back');
    expect(tm.told).toEqual(['abandoned']);
    expect(told).toEqual([]);
  });

  it.each([
    ['submitted', 'JOB_DUPLICATE'],
    ['succeeded', 'JOB_DUPLICATE'],
    ['prepared', 'JOB_IN_DOUBT'],
    ['purging', 'JOB_IN_DOUBT'],
  ] as const)('meets another start that is %s: %s after a rollback', async (status, code) => {
    const { job, transaction, tm } = await aScene();
    tm.leave('g', status);
    expect((await errorOf(() => job.start())).code).toBe(code);
    expect(transaction.isActive()).toBe(false);
    expect(tm.told).toEqual(['abandoned']);
  });

  it('passes a serialization failure through and leaves the transaction to the user, whose retry loop rolls it back', async () => {
    const { job, transaction, tm } = await aScene();
    const serialization = new DriverError('refused: 40001');
    tm.fail('enlisted.prepare', serialization);
    expect(await errorOf(() => job.prepare())).toBe(serialization);
    expect(transaction.isActive()).toBe(true);
    expect(transaction.calls).toEqual([]);
  });

  it('ends the transaction when the insert got no answer: the row may be in it, and the job was refused', async () => {
    const { job, transaction, tm } = await aScene();
    const lost = new DriverError('read timeout');
    tm.fail('enlisted.prepare', lost, { applied: true });
    expect(await errorOf(() => job.prepare())).toBe(lost);
    expect(transaction.calls).toEqual(['rollback']);
    expect(await errorOf(() => job.submit())).toBe(lost);
    expect(tm.told).toEqual(['abandoned']);
  });

  it('forgets the claim when the server refused the commit', async () => {
    const { job, transaction, tm, told } = await aScene();
    transaction.commitWill = 'be-refused';
    expect(await errorOf(() => job.start())).toBeInstanceOf(DriverError);
    expect(transaction.calls).toEqual(['commit', 'rollback']);
    expect(tm.told).toEqual(['abandoned']);
    expect(told).toEqual([]);
  });

  it('succeeds when the answer to the commit was lost, but the row is there', async () => {
    const { job, transaction, tm, told } = await aScene();
    transaction.commitWill = 'unheard-committed';
    await expect(job.start()).resolves.toMatchObject({ status: 'submitted' });
    expect(tm.told).toEqual(['committed']);
    expect(told).toEqual(['job.submitted g']);
  });

  it('throws the error of the driver when the answer was lost and the row is not there', async () => {
    const { job, transaction, tm } = await aScene();
    transaction.commitWill = 'unheard-rolled-back';
    expect(await errorOf(() => job.start())).toBeInstanceOf(DriverError);
    expect(tm.told).toEqual(['abandoned']);
  });

  it('forgets the claim when nobody knows, and can be resolved later', async () => {
    const { job, transaction, tm } = await aScene();
    transaction.commitWill = 'unheard-undecided';
    expect((await errorOf(() => job.start())).code).toBe('COMMIT_OUTCOME_UNKNOWN');
    expect(tm.told).toEqual(['abandoned']);
    transaction.serverEnds('committed');
    await expect(job.resolve()).resolves.toBe('committed');
    await expect(job.submit()).resolves.toBe('submitted');
  });
});
