import { afterEach, expect, it } from '@jest/globals';
import { defineStep, type Stepping, unchecked } from '@stepping/core';
import { localTm } from '@stepping/tm-local';
import { typeormStore } from '@stepping/tm-local-typeorm';
import { inTransaction, typeormDb, typeormTransaction } from '../src/index.js';
import { errorOf, started } from './support/apps.js';
import { Order, postgres } from './support/databases.js';
import { closeAll, throughWire } from './support/opened.js';

const note = defineStep({ name: 'note', args: unchecked<{ text: string }>(), run() {} });
const refused = defineStep({ name: 'refused', queue: 'refused', args: unchecked<{ text: string }>(), run() {} });

const TEXTS = [
  'plain',
  `it's`,
  `'); drop table stepping_job; --`,
  'C:\\temp\\',
  `\\'`,
  '"quoted"',
  '$1 $$ ?',
  'line\nline',
  'Grüße, 世界',
  'x'.repeat(20_000),
];

afterEach(closeAll);

postgres.describe('a job of a gid that is drawn, in the database of the transaction on PostgreSQL', () => {
  /** One connection that has prepared all statements. */
  const setUp = async () => {
    const { direct, wire, dataSource } = await throughWire(postgres, { poolSize: 1 });
    const stepping: Stepping = await started({
      steps: [note, refused],
      tm: localTm({ store: typeormStore({ dataSource }), processor: false }),
      use: [typeormDb({ dataSource })],
    });
    const place = (text: string, step: typeof note | typeof refused = note, what = text.slice(0, 20)) =>
      inTransaction(stepping, dataSource, async ({ manager, job }) => {
        await manager.save(Order, { what });
        return job.addStep(step, { text }).gid;
      });
    await place('first');
    const sent: string[] = [];
    Object.assign(dataSource.logger, { logQuery: (query: string) => sent.push(query) });
    const orders = () => direct.getRepository(Order).count();
    const jobs = async () => (await stepping.jobs.stats()).submitted;
    return { direct, wire, dataSource, stepping, place, sent, orders, jobs };
  };

  it('goes in one trip with the commit', async () => {
    const { place, sent } = await setUp();
    await place('second');
    expect(sent.at(-1)).toMatch(/^execute stepping_drawn_\w+\(.*"second".*\); COMMIT$/);
    expect(sent.filter((query) => /stepping_/.test(query))).toHaveLength(1);
  });

  it('goes at once where somebody else commits, or its gid was chosen', async () => {
    const { dataSource, stepping, sent, orders, jobs } = await setUp();
    const runner = dataSource.createQueryRunner();
    await runner.startTransaction();
    const job = stepping.createJob({ transaction: typeormTransaction(runner) }).addStep(note, { text: 'mine' });
    await job.prepare();
    await runner.commitTransaction();
    await runner.release();
    expect(await job.submit()).toBe('submitted');
    const chosen = () =>
      inTransaction(stepping, { dataSource, gid: 'chosen' }, async ({ manager, job }) => {
        await manager.save(Order, { what: 'chosen' });
        job.addStep(note, { text: 'chosen' });
      });
    await chosen();
    expect(await errorOf(chosen())).toMatchObject({ code: 'JOB_DUPLICATE' });
    expect(sent.filter((query) => query.startsWith('execute'))).toEqual([]);
    expect([await orders(), await jobs()]).toEqual([2, 3]);
  });

  it('has its args as they were given, whatever text they are', async () => {
    const { stepping, place, orders, jobs } = await setUp();
    for (const text of TEXTS) {
      const gid = await place(text, note, 'order');
      expect((await stepping.jobs.find(gid))?.steps[0]?.args).toEqual({ text });
    }
    expect([await orders(), await jobs()]).toEqual([TEXTS.length + 1, TEXTS.length + 1]);
  });

  it('is not there when the server refuses the commit, and neither is what it belongs to', async () => {
    const { direct, place, orders, jobs } = await setUp();
    await direct.query('alter table "order" add unique (what) deferrable initially deferred');
    expect(await errorOf(place('second', note, 'first'))).toMatchObject({ driverError: { code: '23505' } });
    expect([await orders(), await jobs()]).toEqual([1, 1]);
    await place('third');
    expect([await orders(), await jobs()]).toEqual([2, 2]);
  });

  it('takes the transaction with it when the server refuses the job', async () => {
    const { direct, place, sent, orders, jobs } = await setUp();
    await direct.query(`alter table stepping_job add check (queue <> 'refused')`);
    expect(await errorOf(place('second', refused))).toMatchObject({ driverError: { code: '23514' } });
    expect(sent.at(-1)).toBe('ROLLBACK');
    expect([await orders(), await jobs()]).toEqual([1, 1]);
    await place('third');
    expect([await orders(), await jobs()]).toEqual([2, 2]);
  });

  it('is there when the answer to the commit is lost: the caller is told so', async () => {
    const { wire, place, orders, jobs } = await setUp();
    wire.cutNextCommit('after');
    await place('unheard');
    expect([await orders(), await jobs()]).toEqual([2, 2]);
  });

  it('cannot come after somebody was told that nothing was committed, and neither can what it belongs to', async () => {
    const { wire, place, orders, jobs } = await setUp();
    wire.cutNextCommit('late');
    expect(await errorOf(place('late'))).toMatchObject({ name: 'QueryFailedError' });
    expect(await wire.land()).toContain('23505');
    expect([await orders(), await jobs()]).toEqual([1, 1]);
  });

  it('is not there when the commit never reached the server: the error of the driver passes', async () => {
    const { wire, place, orders, jobs } = await setUp();
    wire.cutNextCommit('before');
    expect(await errorOf(place('cut'))).toMatchObject({ name: 'QueryFailedError' });
    expect([await orders(), await jobs()]).toEqual([1, 1]);
  });
});
