import { anApp, close, errorOf, sendMail, stopApps } from '../test/support/an-app.js';
import { SteppingError, TransactionScope } from './index.js';

afterEach(stopApps);

describe('A job without a transaction', () => {
  it('is handed to the transaction manager with its steps in order, and its event is told once it is stored', async () => {
    const { stepping, tm, told } = await anApp();
    const job = stepping.createJob({ gid: 'order-1', tenant: 'acme' }).addStep(sendMail, { to: 'a@b.c' }).addStep(close);
    expect(job.stepCount).toBe(2);

    await expect(job.start()).resolves.toEqual({ gid: 'order-1', status: 'submitted', duplicate: false });

    expect(tm.rows.get('order-1')?.job).toMatchObject({
      tenant: 'acme',
      db: undefined,
      steps: [
        { name: 'order.send-mail', queue: 'default', args: '{"to":"a@b.c"}' },
        { name: 'order.close', queue: 'default', args: undefined },
      ],
    });
    expect(told).toEqual(['job.submitted order-1']);
  });

  it('gets a gid that sorts by creation when it is given none', async () => {
    const { stepping } = await anApp();
    const gids = Array.from({ length: 100 }, () => stepping.createJob().gid);
    expect(new Set(gids).size).toBe(100);
    expect([...gids].sort()).toEqual(gids);
  });

  it('copies args when they are added', async () => {
    const { stepping, tm } = await anApp();
    const args = { to: 'first' };
    const job = stepping.createJob().addStep(sendMail, args);
    args.to = 'second';
    await job.addStep(sendMail, args).start();
    expect(tm.rows.get(job.gid)?.job.steps.map((step) => step.args)).toEqual(['{"to":"first"}', '{"to":"second"}']);
  });

  it.each(['submitted', 'succeeded', 'failed', 'cancelled'] as const)(
    'is a duplicate, with its status, of one that is %s',
    async (status) => {
      const { stepping, tm, told } = await anApp();
      tm.leave('g', status);
      await expect(stepping.createJob({ gid: 'g' }).addStep(close).start()).resolves.toEqual({ gid: 'g', status, duplicate: true });
      expect(told).toEqual([]);
    },
  );

  it.each(['prepared', 'purging'] as const)('is in doubt while another start of its gid is %s', async (status) => {
    const { stepping, tm, told } = await anApp();
    tm.leave('g', status);
    const error = await errorOf(() => stepping.createJob({ gid: 'g' }).addStep(close).start());
    expect(error.code).toBe('JOB_IN_DOUBT');
    expect(error.message).toMatch(/g .*try again in a few seconds/);
    expect(told).toEqual([]);
  });

  it('revives a gid whose transaction was rolled back', async () => {
    const { stepping, tm } = await anApp();
    tm.leave('g', 'rolled-back');
    await expect(stepping.createJob({ gid: 'g' }).addStep(close).start()).resolves.toMatchObject({ duplicate: false });
    expect(tm.statusOf('g')).toBe('submitted');
  });

  it('cannot be started twice, nor get another step', async () => {
    const { stepping, tm } = await anApp();
    const job = stepping.createJob().addStep(close);
    const first = job.start();
    expect((await errorOf(() => job.start())).code).toBe('JOB_ALREADY_STARTED');
    await first;
    expect((await errorOf(() => job.start())).code).toBe('JOB_ALREADY_STARTED');
    expect((await errorOf(() => job.addStep(close))).code).toBe('JOB_ALREADY_STARTED');
    expect(tm.calls).toEqual(['start']);
  });

  it('may be started again after an answer was lost: the repeat is the same write, no duplicate, and told once', async () => {
    const { stepping, tm, told } = await anApp();
    const lost = new SteppingError('START_OUTCOME_UNKNOWN', 'no answer');
    tm.fail('start', lost, { applied: true });
    const job = stepping.createJob().addStep(close);
    expect(await errorOf(() => job.start())).toBe(lost);
    tm.heal('start');
    await expect(job.start()).resolves.toEqual({ gid: job.gid, status: 'submitted', duplicate: false });
    expect(told).toEqual([`job.submitted ${job.gid}`]);
  });

  it('needs a started app', async () => {
    const { stepping, tm } = await anApp();
    await stepping.stop();
    const error = await errorOf(() => stepping.createJob().addStep(close).start());
    expect(error.code).toBe('NOT_STARTED');
    expect(error.message).toContain('no restart');
    expect(tm.calls).toEqual([]);
  });

  it('warns once when it is started inside a business transaction, naming the job to use', async () => {
    const { stepping, log } = await anApp();
    const scope = stepping.resolve(TransactionScope);
    await stepping.createJob().addStep(close).start();
    expect(log.of('warn')).toEqual([]);
    await scope.run(async () => {
      await stepping.createJob().addStep(close).start();
      await stepping.createJob().addStep(close).start();
    });
    expect(log.of('warn')).toEqual([expect.stringContaining('`job`')]);
  });

  it('does not warn in code that outlives the transaction it was begun in', async () => {
    const { stepping, log } = await anApp();
    let later = (): Promise<unknown> => Promise.resolve();
    await stepping.resolve(TransactionScope).run(async () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      const started = promise.then(() => stepping.createJob().addStep(close).start());
      later = () => {
        resolve();
        return started;
      };
    });
    await later();
    expect(log.of('warn')).toEqual([]);
  });
});
