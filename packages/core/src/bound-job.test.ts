import { anApp, close, errorOf, stopApps, type TestApp } from '../test/support/an-app.js';
import { type BusinessTransaction, DriverError } from '../test/support/business-database.js';
import { SteppingError, type TransactionJob } from './index.js';

afterEach(stopApps);

interface Scene extends TestApp {
  readonly transaction: BusinessTransaction;
  readonly job: TransactionJob;
}

async function aScene(options: { owned?: boolean } = {}): Promise<Scene> {
  const app = await anApp();
  const transaction = app.database.begin(options);
  return { ...app, transaction, job: app.stepping.createJob({ gid: 'g', transaction }).addStep(close) };
}

const barriersIn = (transaction: BusinessTransaction) => transaction.inserted.size;

describe('prepare() in a transaction of another database', () => {
  it('writes the barrier first and stores the job as prepared, with the database that can be asked', async () => {
    const { job, transaction, tm, told } = await aScene();
    const order: string[] = [];
    const insert = transaction.insertBarrier.bind(transaction);
    transaction.insertBarrier = async (...args) => {
      order.push(`barrier after ${tm.calls.length} calls`);
      return insert(...args);
    };
    await job.prepare();
    expect(order).toEqual(['barrier after 0 calls']);
    expect(tm.calls).toEqual(['prepare']);
    expect(tm.statusOf('g')).toBe('prepared');
    expect(tm.rows.get('g')?.job.db).toEqual({ provider: 'memory', name: 'default' });
    expect(told).toEqual([]);
  });

  it('takes the tenant of the transaction', async () => {
    const { stepping, database, tm } = await anApp();
    await stepping
      .createJob({ gid: 'g', transaction: database.begin({ tenant: 'acme' }) })
      .addStep(close)
      .prepare();
    expect(tm.rows.get('g')?.job).toMatchObject({ tenant: 'acme', db: { tenant: 'acme' } });
  });

  it('is refused for a job of another tenant than the transaction, before anything is written', async () => {
    const { stepping, database, tm } = await anApp();
    const transaction = database.begin({ tenant: 'acme' });
    const error = await errorOf(() => stepping.createJob({ transaction, tenant: 'other' }).addStep(close).prepare());
    expect(error.code).toBe('DB_MISMATCH');
    expect(error.message).toMatch(/"other".*"acme"/);
    expect([tm.calls, transaction.calls]).toEqual([[], []]);
  });

  it('passes on what the database refuses, before anything is written', async () => {
    const { job, transaction, tm } = await aScene();
    transaction.refError = new SteppingError('DB_UNKNOWN', 'no such database');
    expect(await errorOf(() => job.prepare())).toBe(transaction.refError);
    expect([tm.calls, transaction.calls]).toEqual([[], []]);
  });

  it('needs an active transaction', async () => {
    const { job, transaction, tm } = await aScene();
    await transaction.userCommits();
    const error = await errorOf(() => job.prepare());
    expect(error.code).toBe('TX_NOT_ACTIVE');
    expect(error.message).toContain('Begin it before');
    expect([tm.calls, transaction.calls]).toEqual([[], []]);
  });

  it('needs a step', async () => {
    const { stepping, database, tm } = await anApp();
    const transaction = database.begin();
    expect((await errorOf(() => stepping.createJob({ transaction }).prepare())).code).toBe('JOB_EMPTY');
    expect([tm.calls, transaction.calls]).toEqual([[], []]);
  });

  it('passes the driver errors of the barrier through as they are: retry loops must see them', async () => {
    const { job, transaction, tm } = await aScene();
    const serialization = new DriverError('40001');
    transaction.fail('insertBarrier', serialization);
    expect(await errorOf(() => job.prepare())).toBe(serialization);
    expect(tm.calls).toEqual([]);
  });

  it('says so when the barrier is there already', async () => {
    const { job, transaction, tm } = await aScene();
    transaction.insertBarrier = async () => false;
    expect((await errorOf(() => job.prepare())).code).toBe('BARRIER_EXISTS');
    expect(tm.calls).toEqual([]);
  });

  it.each([
    ['prepared', 'JOB_IN_DOUBT'],
    ['purging', 'JOB_IN_DOUBT'],
    ['submitted', 'JOB_DUPLICATE'],
    ['succeeded', 'JOB_DUPLICATE'],
    ['failed', 'JOB_DUPLICATE'],
    ['cancelled', 'JOB_DUPLICATE'],
  ] as const)('meets another start that is %s: %s, its barrier is taken out, and the other job is left alone', async (status, code) => {
    const { job, transaction, tm } = await aScene();
    tm.leave('g', status);
    const error = await errorOf(() => job.prepare());
    expect(error.code).toBe(code);
    expect(barriersIn(transaction)).toBe(0);
    expect(transaction.isActive()).toBe(true);
    expect(tm.calls).toEqual(['prepare']);
    expect(tm.statusOf('g')).toBe(status);
  });

  it('revives a gid whose transaction was rolled back', async () => {
    const { job, tm } = await aScene();
    tm.leave('g', 'rolled-back');
    await job.prepare();
    expect(tm.statusOf('g')).toBe('prepared');
  });

  it('can be called once', async () => {
    const { job, tm } = await aScene();
    const first = job.prepare();
    expect((await errorOf(() => job.prepare())).code).toBe('JOB_ALREADY_STARTED');
    expect((await errorOf(() => job.start())).code).toBe('JOB_ALREADY_STARTED');
    await first;
    expect((await errorOf(() => job.prepare())).code).toBe('JOB_ALREADY_STARTED');
    expect((await errorOf(() => job.addStep(close))).code).toBe('JOB_ALREADY_STARTED');
    expect(tm.calls).toEqual(['prepare']);
  });
});

describe('prepare() that the transaction manager did not answer', () => {
  it('takes the barrier out, aborts the job that may be stored, and is not sent again', async () => {
    const { job, transaction, tm, told } = await aScene();
    tm.fail('prepare', new Error('timeout'), { applied: true });
    const error = await errorOf(() => job.prepare());
    expect(error.code).toBe('STORE_UNAVAILABLE');
    expect(error.message).toMatch(/timeout.*roll back and try again with a new job/);
    expect(transaction.calls).toEqual(['insertBarrier', 'deleteBarrier']);
    expect(transaction.isActive()).toBe(true);
    expect(tm.calls).toEqual(['prepare', 'abort']);
    expect(tm.statusOf('g')).toBe('rolled-back');
    expect(told).toEqual(['job.rolled-back g']);
  });

  it('lets the user commit what else is in the transaction: the refused job does not run', async () => {
    const { job, transaction, tm, database } = await aScene();
    tm.fail('prepare', new Error('timeout'), { applied: true });
    tm.fail('abort');
    await errorOf(() => job.prepare());
    await transaction.userCommits();
    const { instance } = tm.rows.get('g')?.job ?? { instance: '' };
    await expect(database.resolveInDoubt('g', instance)).resolves.toBe('rolled-back');
  });

  it('asks nothing to be aborted when surely nothing was written', async () => {
    const { job, transaction, tm } = await aScene();
    const down = new SteppingError('STORE_UNAVAILABLE', 'down');
    tm.fail('prepare', down);
    expect(await errorOf(() => job.prepare())).toBe(down);
    expect(barriersIn(transaction)).toBe(0);
    expect(tm.calls).toEqual(['prepare']);
  });

  it('rolls the transaction back itself when the barrier cannot be deleted, then aborts', async () => {
    const { job, transaction, tm } = await aScene();
    tm.fail('prepare', new Error('timeout'), { applied: true });
    transaction.fail('deleteBarrier');
    await errorOf(() => job.prepare());
    expect(transaction.calls).toEqual(['insertBarrier', 'deleteBarrier', 'rollback']);
    expect(transaction.isActive()).toBe(false);
    expect(tm.statusOf('g')).toBe('rolled-back');
  });

  it('closes the connection when the rollback is not acknowledged either, then aborts', async () => {
    const { job, transaction, tm } = await aScene();
    tm.fail('prepare', new Error('timeout'), { applied: true });
    transaction.fail('deleteBarrier');
    transaction.fail('rollback');
    await errorOf(() => job.prepare());
    expect(transaction.calls).toEqual(['insertBarrier', 'deleteBarrier', 'rollback', 'close']);
    expect(tm.statusOf('g')).toBe('rolled-back');
  });

  it('does not abort while the barrier may still be committed: nothing of the transaction was acknowledged', async () => {
    const { job, transaction, tm, log } = await aScene();
    tm.fail('prepare', new Error('timeout'), { applied: true });
    for (const verb of ['deleteBarrier', 'rollback', 'close'] as const) transaction.fail(verb);
    await errorOf(() => job.prepare());
    expect(tm.calls).toEqual(['prepare']);
    expect(tm.statusOf('g')).toBe('prepared');
    expect(log.of('error')).toEqual([expect.stringContaining('roll it back')]);
  });

  it('does the same where the answer was a refusal: a barrier that stays is rolled back', async () => {
    const { job, transaction, tm } = await aScene();
    tm.leave('g', 'submitted');
    transaction.fail('deleteBarrier');
    expect((await errorOf(() => job.prepare())).code).toBe('JOB_DUPLICATE');
    expect(transaction.isActive()).toBe(false);
  });

  it('throws the same error from every later call, and asks nobody', async () => {
    const { job, transaction, tm } = await aScene();
    tm.fail('prepare', new Error('timeout'));
    const error = await errorOf(() => job.prepare());
    await transaction.userCommits();
    tm.calls.length = 0;
    for (const verb of ['prepare', 'submit', 'resolve', 'start'] as const) expect(await errorOf(() => job[verb]())).toBe(error);
    expect(tm.calls).toEqual([]);
  });

  it('gives the error of the prepare also when the abort fails', async () => {
    const { job, tm } = await aScene();
    tm.fail('prepare', new Error('first'));
    tm.fail('abort', new Error('second'));
    expect((await errorOf(() => job.prepare())).message).toContain('first');
  });

  it('leaves the gid free for a new job in the same transaction', async () => {
    const { stepping, job, transaction, tm } = await aScene();
    tm.fail('prepare', new Error('timeout'), { applied: true });
    await errorOf(() => job.prepare());
    tm.heal('prepare');
    await stepping.createJob({ gid: 'g', transaction }).addStep(close).prepare();
    expect(tm.statusOf('g')).toBe('prepared');
  });
});

describe('submit()', () => {
  it('finds the committed barrier and submits, once', async () => {
    const { job, transaction, tm, told } = await aScene();
    await job.prepare();
    await transaction.userCommits();
    await expect(job.submit()).resolves.toBe('submitted');
    await expect(job.submit()).resolves.toBe('submitted');
    expect(tm.calls).toEqual(['prepare', 'submit']);
    expect(told).toEqual(['job.submitted g']);
  });

  it('is refused while the transaction is open, and asks nobody', async () => {
    const { job, tm } = await aScene();
    await job.prepare();
    const error = await errorOf(() => job.submit());
    expect(error.code).toBe('TX_STILL_ACTIVE');
    expect(error.message).toMatch(/Commit first.*job\.resolve\(\)/);
    expect(tm.calls).toEqual(['prepare']);
  });

  it('answers rolled-back after a rollback, frees the gid, and answers so again', async () => {
    const { job, transaction, tm, told } = await aScene();
    await job.prepare();
    await transaction.rollback();
    await expect(job.submit()).resolves.toBe('rolled-back');
    await expect(job.submit()).resolves.toBe('rolled-back');
    expect(tm.calls).toEqual(['prepare', 'find', 'abort']);
    expect(tm.statusOf('g')).toBe('rolled-back');
    expect(told).toEqual(['job.rolled-back g']);
  });

  it('knows no verdict while the server still has the transaction, and may be called again', async () => {
    const { job, transaction, database, tm } = await aScene();
    await job.prepare();
    Object.assign(transaction, { isActive: () => false }); // the client lost it, the server has not
    expect((await errorOf(() => job.submit())).code).toBe('COMMIT_OUTCOME_UNKNOWN');
    expect(tm.statusOf('g')).toBe('prepared');
    transaction.serverEnds('committed');
    expect(database.open.size).toBe(0);
    await expect(job.submit()).resolves.toBe('submitted');
  });

  it('knows no verdict while the database is down', async () => {
    const { job, transaction, database, tm } = await aScene();
    await job.prepare();
    await transaction.userCommits();
    database.isDown = true;
    const error = await errorOf(() => job.submit());
    expect(error.code).toBe('COMMIT_OUTCOME_UNKNOWN');
    expect(error.message).toContain('job.resolve()');
    expect(tm.calls).toEqual(['prepare']);
  });

  it('is a success also when the transaction manager cannot be told: the business operation is done', async () => {
    const { job, transaction, tm, told, log } = await aScene();
    await job.prepare();
    await transaction.userCommits();
    tm.fail('submit');
    await expect(job.submit()).resolves.toBe('submitted');
    expect(told).toEqual(['job.submit-deferred g']);
    expect(log.of('warn')).toHaveLength(1);
  });

  it('tells of no job that the query-back has submitted before', async () => {
    const { job, transaction, tm, told } = await aScene();
    await job.prepare();
    await transaction.userCommits();
    Object.assign(tm.rows.get('g') ?? {}, { status: 'succeeded' });
    await expect(job.submit()).resolves.toBe('submitted');
    expect(told).toEqual([]);
  });

  it('says that the job must be prepared first', async () => {
    const { job, tm } = await aScene();
    for (const verb of ['submit', 'resolve'] as const) {
      const error = await errorOf(() => job[verb]());
      expect(error.code).toBe('JOB_STATUS');
      expect(error.message).toContain('job.prepare()');
    }
    const preparing = job.prepare();
    expect((await errorOf(() => job.submit())).message).toContain('Await job.prepare()');
    await preparing;
    expect(tm.calls).toEqual(['prepare']);
  });

  it('of a job whose connection has begun another transaction works all the same', async () => {
    const { stepping, database } = await anApp();
    const handle = {};
    const first = database.begin({ handle });
    const job = stepping.createJob({ transaction: first }).addStep(close);
    await job.prepare();
    await first.userCommits();
    const second = database.begin({ handle });
    await expect(stepping.createJob({ transaction: second }).addStep(close).start()).resolves.toMatchObject({ status: 'submitted' });
    await expect(job.submit()).resolves.toBe('submitted');
  });
});

describe('resolve()', () => {
  it('says committed, and lets submit() go on without asking again', async () => {
    const { job, transaction, tm } = await aScene();
    await job.prepare();
    await transaction.userCommits();
    await expect(job.resolve()).resolves.toBe('committed');
    expect(tm.statusOf('g')).toBe('prepared');
    Object.assign(transaction, { isActive: () => true }); // a driver that keeps the mark after a commit that threw
    await expect(job.submit()).resolves.toBe('submitted');
    await expect(job.resolve()).resolves.toBe('committed');
  });

  it('says rolled-back, frees the gid, and no submit() changes that', async () => {
    const { job, transaction, tm } = await aScene();
    await job.prepare();
    transaction.serverEnds('rolled-back');
    await expect(job.resolve()).resolves.toBe('rolled-back');
    expect(tm.statusOf('g')).toBe('rolled-back');
    await expect(job.submit()).resolves.toBe('rolled-back');
    await expect(job.resolve()).resolves.toBe('rolled-back');
  });

  it('says unknown while the transaction is open, and writes nothing', async () => {
    const { job, tm, database } = await aScene();
    await job.prepare();
    await expect(job.resolve()).resolves.toBe('unknown');
    expect(tm.calls).toEqual(['prepare']);
    expect(database.barriers.size).toBe(0);
  });
});

describe('the question of R3, when the database says that the transaction did not commit', () => {
  const cases: [string, (scene: Scene) => void, 'committed' | 'rolled-back' | 'unknown'][] = [
    ['prepared, mine', () => {}, 'rolled-back'],
    ['rolled-back, mine', ({ tm }) => Object.assign(tm.rows.get('g') ?? {}, { status: 'rolled-back' }), 'rolled-back'],
    ['submitted, mine', ({ tm }) => Object.assign(tm.rows.get('g') ?? {}, { status: 'submitted' }), 'committed'],
    ['succeeded, mine', ({ tm }) => Object.assign(tm.rows.get('g') ?? {}, { status: 'succeeded' }), 'committed'],
    ['failed, mine', ({ tm }) => Object.assign(tm.rows.get('g') ?? {}, { status: 'failed' }), 'committed'],
    ['cancelled, mine', ({ tm }) => Object.assign(tm.rows.get('g') ?? {}, { status: 'cancelled' }), 'committed'],
    ['missing', ({ tm }) => tm.rows.delete('g'), 'unknown'],
    ['purging', ({ tm }) => Object.assign(tm.rows.get('g') ?? {}, { status: 'purging' }), 'unknown'],
    ['of another start', ({ tm }) => tm.leave('g', 'submitted'), 'unknown'],
    ['not to be read', ({ tm }) => tm.fail('find'), 'unknown'],
  ];
  it.each(cases)('and the job is %s', async (_, leave, answer) => {
    const scene = await aScene();
    await scene.job.prepare();
    scene.transaction.serverEnds('rolled-back');
    leave(scene);
    await expect(scene.job.resolve()).resolves.toBe(answer);
  });
});

describe('start() on a transaction', () => {
  it('prepares, commits and submits', async () => {
    const { job, transaction, tm, told } = await aScene();
    await expect(job.start()).resolves.toEqual({ gid: 'g', status: 'submitted', duplicate: false });
    expect(transaction.calls).toEqual(['insertBarrier', 'commit']);
    expect(tm.calls).toEqual(['prepare', 'submit']);
    expect(told).toEqual(['job.submitted g']);
    expect((await errorOf(() => job.start())).code).toBe('JOB_ALREADY_STARTED');
    await expect(job.submit()).resolves.toBe('submitted');
  });

  it.each([
    ['submitted', 'JOB_DUPLICATE'],
    ['prepared', 'JOB_IN_DOUBT'],
  ] as const)('rolls back when another start is %s, then throws %s', async (status, code) => {
    const { job, transaction, tm } = await aScene();
    tm.leave('g', status);
    expect((await errorOf(() => job.start())).code).toBe(code);
    expect(transaction.calls).toEqual(['insertBarrier', 'deleteBarrier', 'rollback']);
    expect(transaction.calls).not.toContain('commit');
  });

  it('rolls back when the prepare is in doubt', async () => {
    const { job, transaction, tm } = await aScene();
    tm.fail('prepare', new Error('timeout'), { applied: true });
    await errorOf(() => job.start());
    expect(transaction.calls).toEqual(['insertBarrier', 'deleteBarrier', 'rollback']);
    expect(tm.statusOf('g')).toBe('rolled-back');
  });

  it('rolls back when the barrier meets a serialization failure, which passes through', async () => {
    const { job, transaction } = await aScene();
    const serialization = new DriverError('40001');
    transaction.fail('insertBarrier', serialization);
    expect(await errorOf(() => job.start())).toBe(serialization);
    expect(transaction.isActive()).toBe(false);
  });

  it('rolls back when the job has no steps', async () => {
    const { stepping, database } = await anApp();
    const transaction = database.begin();
    expect((await errorOf(() => stepping.createJob({ transaction }).start())).code).toBe('JOB_EMPTY');
    expect(transaction.isActive()).toBe(false);
  });

  it('throws the error of the driver when the server refused the commit, after a rollback and an abort', async () => {
    const { job, transaction, tm, told } = await aScene();
    transaction.commitWill = 'be-refused';
    const error = await errorOf(() => job.start());
    expect(error).toBeInstanceOf(DriverError);
    expect(transaction.calls).toEqual(['insertBarrier', 'commit', 'rollback']);
    expect(tm.calls).toEqual(['prepare', 'abort']);
    expect(told).toEqual(['job.rolled-back g']);
  });

  it('does not abort after a refused commit when the transaction may still be open', async () => {
    const { job, transaction, tm } = await aScene();
    transaction.commitWill = 'be-refused';
    transaction.fail('rollback');
    transaction.fail('close');
    expect(await errorOf(() => job.start())).toBeInstanceOf(DriverError);
    expect(tm.calls).toEqual(['prepare']);
  });

  it('succeeds when the answer to the commit was lost, but the barrier is there', async () => {
    const { job, transaction, tm, told } = await aScene();
    transaction.commitWill = 'unheard-committed';
    await expect(job.start()).resolves.toMatchObject({ status: 'submitted' });
    expect(tm.calls).toEqual(['prepare', 'submit']);
    expect(told).toEqual(['job.submitted g']);
  });

  it('throws the error of the driver when the answer was lost and the transaction is gone', async () => {
    const { job, transaction, tm } = await aScene();
    transaction.commitWill = 'unheard-rolled-back';
    const error = await errorOf(() => job.start());
    expect(error).toBeInstanceOf(DriverError);
    expect(error.message).toBe('connection lost');
    expect(tm.calls).toEqual(['prepare', 'find', 'abort']);
  });

  it('says that nobody knows when the answer was lost and the commit may still land; aborts nothing, and can be resolved later', async () => {
    const { job, transaction, tm } = await aScene();
    transaction.commitWill = 'unheard-undecided';
    const error = await errorOf(() => job.start());
    expect(error.code).toBe('COMMIT_OUTCOME_UNKNOWN');
    expect(error.cause).toBeInstanceOf(DriverError);
    expect(tm.calls).toEqual(['prepare']);
    expect(tm.statusOf('g')).toBe('prepared');
    transaction.serverEnds('committed');
    await expect(job.resolve()).resolves.toBe('committed');
    await expect(job.submit()).resolves.toBe('submitted');
  });

  it('says that nobody knows when the answer was lost and the store cannot be read', async () => {
    const { job, transaction, tm } = await aScene();
    transaction.commitWill = 'unheard-rolled-back';
    tm.fail('find');
    expect((await errorOf(() => job.start())).code).toBe('COMMIT_OUTCOME_UNKNOWN');
    expect(tm.calls).toEqual(['prepare', 'find']);
  });

  it('treats a commit error that nobody can read as an unknown outcome', async () => {
    const { job, transaction, tm } = await aScene();
    transaction.commitWill = 'be-refused';
    Object.assign(transaction, { commitOutcome: undefined });
    const error = await errorOf(() => job.start());
    expect(error.code).toBe('COMMIT_OUTCOME_UNKNOWN'); // the transaction is still open on the server
    expect(tm.statusOf('g')).toBe('prepared');
  });

  it('succeeds when the submit fails after the commit', async () => {
    const { job, tm, told } = await aScene();
    tm.fail('submit');
    await expect(job.start()).resolves.toMatchObject({ status: 'submitted', duplicate: false });
    expect(told).toEqual(['job.submit-deferred g']);
  });

  it('is refused where somebody else commits, which leaves the transaction alone', async () => {
    const { job, transaction, tm } = await aScene({ owned: false });
    const error = await errorOf(() => job.start());
    expect(error.code).toBe('TX_NOT_OWNED');
    expect(error.message).toContain('job.prepare()');
    expect([tm.calls, transaction.calls]).toEqual([[], []]);
    await job.prepare();
    await transaction.userCommits();
    await expect(job.submit()).resolves.toBe('submitted');
  });
});

describe('Several jobs on one transaction', () => {
  it('are each prepared and submitted', async () => {
    const { stepping, database, tm } = await anApp();
    const transaction = database.begin();
    const jobs = ['a', 'b', 'c'].map((gid) => stepping.createJob({ gid, transaction }).addStep(close));
    for (const job of jobs) await job.prepare();
    await transaction.userCommits();
    for (const job of jobs) await expect(job.submit()).resolves.toBe('submitted');
    expect(['a', 'b', 'c'].map((gid) => tm.statusOf(gid))).toEqual(['submitted', 'submitted', 'submitted']);
  });

  it('cannot be started, which would commit the others, also through another handle on the same connection', async () => {
    const { stepping, database, tm } = await anApp();
    const handle = {};
    const transaction = database.begin({ handle });
    const preparing = stepping.createJob({ gid: 'a', transaction }).addStep(close).prepare();
    const again = database.begin({ handle });
    const starting = stepping.createJob({ gid: 'b', transaction: again }).addStep(close);
    const error = await errorOf(() => starting.start());
    expect(error.code).toBe('TX_NOT_OWNED');
    expect(error.message).toMatch(/job a/);
    await preparing;
    expect(tm.calls).toEqual(['prepare']);
    expect(again.calls).toEqual([]);
  });

  it('do not count when their prepare failed', async () => {
    const { stepping, database, tm } = await anApp();
    const transaction = database.begin();
    tm.leave('a', 'submitted');
    await errorOf(() => stepping.createJob({ gid: 'a', transaction }).addStep(close).prepare());
    await expect(stepping.createJob({ gid: 'b', transaction }).addStep(close).start()).resolves.toMatchObject({ status: 'submitted' });
  });
});
