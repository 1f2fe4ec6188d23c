import { strict as assert } from 'node:assert';
import { Socket } from 'node:net';
import { afterAll, beforeAll, beforeEach, it } from '@jest/globals';
import { createStepping, SteppingError } from '@stepping/core';
import { testService } from '@stepping/test-services';
import { type ClaimedJob, type CreateJob, localTm, type StoredJob, type TransactionStore, WriteRefused } from '@stepping/tm-local';
import { hostedProcessor } from '@stepping/tm-local-hosted-processor';
import mongoose, { type Connection, type mongo } from 'mongoose';
import { openWire } from '../../db-mongoose/test/support/cut-commit.js';
import { type TcpProxy, tcpProxy } from '../../tm-local-typeorm/test/tcp-proxy.js';
import { Claims, dueHeads, nextDue } from '../src/claims.js';
import { mongooseStore } from '../src/index.js';
import { DUE_INDEX, type JobCollection, type JobDocument } from '../src/job-document.js';
import { OWN_OPTIONS, ownClient } from '../src/own-client.js';
import { collectionsOf } from '../src/schema.js';
import { ServerClock } from '../src/server-clock.js';
import { aClaim, aJob, aSave, openStore } from './a-store.js';

// Alone on its server: it makes commands fail there.
const mongodb = await testService('mongodb-own');

const MAJORITY = { writeConcern: { w: 'majority' } } as const;
const aChange = { instance: undefined, queue: undefined, dueInMs: 0, held: false, error: undefined } as const;

mongodb.describe('mongooseStore', () => {
  let url: string;
  let connection: Connection;
  let store: TransactionStore;
  let jobs: mongo.Collection<JobDocument>;

  beforeAll(async () => {
    url = await mongodb.database();
    connection = await mongoose.createConnection(url).asPromise();
    store = openStore({ connection });
    await store.start();
    jobs = connection.getClient().db(connection.name).collection<JobDocument>('stepping_job');
  });

  beforeEach(async () => {
    await jobs.deleteMany({}, MAJORITY);
  });

  afterAll(async () => {
    await store.stop();
    await connection.close();
  });

  const claimedJobs = async (...gids: string[]): Promise<ClaimedJob[]> => {
    await store.create(gids.map((gid) => aJob({ gid })));
    const claimed = await store.claimDue(aClaim());
    return [...claimed].sort((one, other) => (one.gid < other.gid ? -1 : 1));
  };
  const aClaimedJob = async (gid: string): Promise<ClaimedJob> => (await claimedJobs(gid))[0] as ClaimedJob;
  const inTransaction = async <R>(options: mongo.TransactionOptions | undefined, work: (session: mongo.ClientSession) => Promise<R>) => {
    const session = await connection.startSession();
    session.startTransaction(options);
    try {
      return await work(session);
    } finally {
      if (session.inTransaction()) await session.abortTransaction();
      await session.endSession();
    }
  };
  const enlisted = (session: unknown) => store.enlist?.({ kind: 'mongoose', handle: session });

  mongodb.describe('plans', () => {
    it('find a hundred due jobs beside thousands of finished ones by the index of unfinished jobs, key by key', async () => {
      const finished: JobDocument[] = Array.from({ length: 5_000 }, (_, i) => ({
        _id: `done-${i}`,
        instance: 'done',
        status: 'succeeded',
        queue: 'default',
        step: 1,
        attempt: 1,
        reached: 2 ** 24 + 1,
        lease: 1,
        held: 0,
        steps: '{"v":1,"steps":[{"n":"first"}]}',
        created_at: new Date(),
        finished_at: new Date(),
      }));
      await jobs.insertMany(finished, { ordered: false });
      await store.create(Array.from({ length: 100 }, (_, i) => aJob({ gid: `due-${i}`, queue: i % 2 ? 'default' : 'mail' })));

      const look = await explained(dueHeads('default', new Date(Date.now() + 60_000), 1_000));
      assert.deepEqual(look, { index: DUE_INDEX, keys: 50, documents: 50 });
      // MongoDB reads one key for each queue.
      assert.equal((await explained(nextDue('stepping_job', ['default', 'mail']))).index, DUE_INDEX);
    }, 60_000);

    it('read no more of a backlog than a claim takes, in the order of the index', async () => {
      await store.create(Array.from({ length: 1_000 }, (_, i) => aJob({ gid: `due-${i}` })));
      const look = await explained(dueHeads('default', new Date(Date.now() + 60_000), 100));
      assert.deepEqual(look, {
        index: DUE_INDEX,
        keys: (await explainsLimits()) ? 100 : 1_000,
        documents: (await explainsLimits()) ? 100 : 1_000,
      });
      assert.equal((await store.claimDue(aClaim({ limit: 100 }))).length, 100);
    });

    it('have an index of what is unfinished, and of nothing else', async () => {
      const keys = async () => (await explained([{ $match: { due_at: { $exists: true } } }])).keys;
      const ends = ['succeeded', 'failed', 'rolled-back'] as const;
      await store.create([...Array(300).keys()].map((i) => aJob({ gid: `job-${i}` })));
      const claimed = await store.claimDue(aClaim());
      assert.equal(await keys(), 300);
      await store.save(claimed.slice(0, 200).map((job, i) => aSave(job, { status: ends[i % 3] as 'failed', giveUp: true })));
      const cancel = {
        instance: undefined,
        from: ['submitted'],
        to: 'cancelled',
        queue: undefined,
        dueInMs: 0,
        held: false,
        error: undefined,
      } as const;
      await store.change(claimed.slice(200, 290).map(({ gid }) => ({ ...cancel, gid })));
      await store.resolve('never-there', 'mine');
      assert.equal(await keys(), 10);
    });

    /** The server that stands in for MongoDB leaves them out of what it explains. */
    const explainsLimits = async () => (await connection.getClient().db('admin').command({ hello: 1 })).setName !== 'secantus';

    const explained = async (pipeline: mongo.Document[]) => {
      const plan = await jobs.aggregate(pipeline, { hint: DUE_INDEX }).explain('executionStats');
      const text = JSON.stringify(plan);
      const number = (name: string) => Number(new RegExp(`"${name}":(\\d+)`).exec(text)?.[1]);
      assert.doesNotMatch(text, /COLLSCAN|"stage":"SORT"/);
      return { index: /"indexName":"([^"]+)"/.exec(text)?.[1], keys: number('totalKeysExamined'), documents: number('totalDocsExamined') };
    };
  });

  mongodb.describe('a write that is sent again', () => {
    it('is known to have been done, also where it has moved the fence', async () => {
      const [one, other] = (await claimedJobs('a', 'b')) as [ClaimedJob, ClaimedJob];
      const saves = [aSave(one, { step: 2, status: 'succeeded', giveUp: true }), aSave(other, { step: 1 })];
      assert.deepEqual(await store.save(saves), new Set(['a', 'b']));
      assert.deepEqual(await store.save(saves), new Set(['a', 'b']));
      // The same values by somebody else are not the same write.
      assert.deepEqual(await store.save([aSave(one, { step: 2, status: 'succeeded', giveUp: true })]), new Set());
    });

    it('is known to have been done, also after the writes of its holder that came upon it', async () => {
      const job = await aClaimedJob('a');
      const first = [aSave(job, { step: 1 })];
      for (const saves of [first, [aSave(job, { step: 2 })], [aSave(job, { step: 3, status: 'succeeded', giveUp: true })], first]) {
        assert.deepEqual(await store.save(saves), new Set(['a']));
      }
      assert.deepEqual([(await store.find('a'))?.step, (await store.find('a'))?.status], [3, 'succeeded']);
    });

    it('is known to have been done when its answer was an error of replication', async () => {
      const [one, other] = (await claimedJobs('a', 'b')) as [ClaimedJob, ClaimedJob];
      await jobs.updateOne({ _id: 'b' }, { $inc: { lease: 1 } }, MAJORITY); // somebody took it over
      const saves = [aSave(one, { step: 2, status: 'succeeded', giveUp: true }), aSave(other, { step: 1 })];
      await failing(
        { failCommands: ['update'], writeConcernError: { code: 64, errmsg: 'waiting for replication timed out' } },
        async () => {
          const error = await store.save(saves).catch((reason) => reason);
          assert.ok(error instanceof Error && !(error instanceof WriteRefused));
        },
      );
      assert.deepEqual(await store.save(saves), new Set(['a']));
    });

    it('is sent again by the driver itself when its connection is cut, with whatever settings the user has', async () => {
      const weak = await mongoose.createConnection(url, { retryWrites: false }).asPromise();
      const own = openStore({ connection: weak });
      await own.start();
      const job = await aClaimedJob('a');
      await failing({ failCommands: ['update'], closeConnection: true }, async () => {
        assert.deepEqual(await own.save([aSave(job, { step: 1 })]), new Set(['a']));
      });
      await own.stop();
      await weak.close();
    });

    it('changes a job once, and knows it', async () => {
      await store.create([aJob({ gid: 'a', status: 'prepared', dueInMs: 10_000 })]);
      const submit = {
        gid: 'a',
        instance: 'instance-of-a',
        from: ['prepared'],
        to: 'submitted',
        queue: undefined,
        dueInMs: 0,
        held: false,
        error: undefined,
      } as const;
      const first = await store.change([submit]);
      await store.claimDue(aClaim()); // moves the fence on
      assert.deepEqual(await store.change([submit]), first);
    });
  });

  it('says that a change was made, although another one came upon it before it could read its answer', async () => {
    await store.create([aJob({ gid: 'a', status: 'prepared', queue: '~db/orders' })]);
    const change = { ...aChange, gid: 'a' };
    const submit = { ...change, from: ['prepared'], to: 'submitted' } as const;
    const submitted = { changed: true, lease: 2 };
    assert.deepEqual(await store.change([submit]), [submitted]);
    await store.change([{ ...change, from: ['submitted'], to: 'cancelled' }]);
    assert.deepEqual(await store.change([submit]), [submitted]);
  });

  mongodb.describe('a claim', () => {
    /** Claims between whose write and whose read something happens. */
    const claimsWith = (meanwhile: () => Promise<unknown>): Claims => {
      const ours = connection.getClient().db(connection.name).collection<JobDocument>('stepping_job', OWN_OPTIONS);
      const updateMany: JobCollection['updateMany'] = async (...update) => {
        const updated = await ours.updateMany(...update);
        await meanwhile();
        return updated;
      };
      const jobs: JobCollection = Object.create(ours, { updateMany: { value: updateMany } });
      return new Claims({ jobs, clock: new ServerClock() });
    };

    it('does not hold a job that was cancelled before it could read it: its lease is not that of the cancelling', async () => {
      await store.create([aJob({ gid: 'a' })]);
      const claims = claimsWith(() => store.change([{ ...aChange, gid: 'a', from: ['submitted'], to: 'cancelled' }]));
      const [claimed] = (await claims.claimDue(aClaim())) as [ClaimedJob];
      assert.deepEqual([claimed.status, claimed.lease, (await store.find('a'))?.lease], ['submitted', 2, 3]);
      assert.deepEqual(await store.extend([claimed], 90_000), new Set());
      assert.deepEqual(await store.save([aSave(claimed, { step: 1 })]), new Set());
      assert.equal((await store.find('a'))?.status, 'cancelled');
    });

    it('holds what a majority knows that it has claimed, and nothing that a fail-over might undo', async () => {
      const client = ownClient(connection);
      const reads: mongo.Document[] = [];
      client.on('commandStarted', ({ command }) => 'aggregate' in command && reads.push(command));
      (client as unknown as { monitorCommands: boolean }).monitorCommands = true;
      const claims = new Claims({
        jobs: collectionsOf(await client.connect(), connection.name, 'stepping_').jobs,
        clock: new ServerClock(),
      });
      await store.create([aJob({ gid: 'a' })]);
      await failing(
        { failCommands: ['update'], writeConcernError: { code: 64, errmsg: 'waiting for replication timed out' } },
        async () => {
          const [claimed] = await claims.claimDue(aClaim());
          assert.equal(claimed?.lease, 2); // the majority of one node has it
        },
      );
      // By the token. Whoever claims after the fail-over raises the lease that was there before: to the same number.
      assert.equal(reads.at(-1)?.readConcern?.level, 'majority');
      await client.close();
    });

    it('takes a prepared job for prepared, although it was submitted before it could read it', async () => {
      await store.create([aJob({ gid: 'a', status: 'prepared', queue: '~db/orders' })]);
      const submit = { ...aChange, gid: 'a', instance: 'instance-of-a', from: ['prepared'], to: 'submitted', queue: 'default' } as const;
      const claims = claimsWith(() => store.change([submit]));
      const [claimed] = (await claims.claimDue(aClaim({ queue: '~db/orders' }))) as [ClaimedJob];
      assert.deepEqual([claimed.status, claimed.queue, claimed.wasHeld], ['prepared', '~db/orders', false]);
      assert.deepEqual(await store.save([aSave(claimed, { status: 'rolled-back', giveUp: true })]), new Set());
      assert.equal((await store.claimDue(aClaim())).length, 1);
    });
  });

  mongodb.describe('a write that the server refuses', () => {
    it('is refused alone, and those that came with it are done', async () => {
      const [one, other] = (await claimedJobs('a', 'b')) as [ClaimedJob, ClaimedJob];
      const saves = [aSave(one, { step: 2, status: 'succeeded', giveUp: true }), aSave(other, { step: 1 })];
      await connection
        .getClient()
        .db(connection.name)
        .command({ collMod: 'stepping_job', validator: { _id: { $ne: 'b' } } });
      try {
        await assert.rejects(store.save(saves), WriteRefused);
        // As a group commit goes on: each alone.
        assert.deepEqual(await store.save(saves.slice(0, 1)), new Set(['a']));
        await assert.rejects(store.save(saves.slice(1)), WriteRefused);
      } finally {
        await connection.getClient().db(connection.name).command({ collMod: 'stepping_job', validator: {} });
      }
      assert.deepEqual(await store.save(saves), new Set(['a', 'b']));
    });

    it('is one without the index, rather than a look at all jobs', async () => {
      await jobs.dropIndex(DUE_INDEX);
      await assert.rejects(store.claimDue(aClaim()));
      await store.migrate();
      assert.deepEqual(await store.claimDue(aClaim()), []);
    });

    it('is one that does not fit into a document, before anything is sent', async () => {
      const steps = JSON.stringify({ v: 1, steps: [{ n: 'first', a: 'x'.repeat(17 * 2 ** 20) }] });
      await assert.rejects(store.create([aJob({ gid: 'a', steps }), aJob({ gid: 'b' })]), WriteRefused);
      assert.equal(await store.find('b'), undefined);
    });
  });

  it('ends a job of the largest size with any error, and with barriers in many databases', async () => {
    const steps = JSON.stringify({ v: 1, steps: [{ n: 'first', a: '☃'.repeat((4 * 2 ** 20) / 3) }] });
    await store.create([aJob({ gid: 'a', steps })]);
    const [job] = (await store.claimDue(aClaim())) as [ClaimedJob];
    const barrierDbs = Array.from({ length: 200 }, (_, i) => ({
      provider: 'mongoose',
      name: 'tenants',
      tenant: `tenant-${i}-${'x'.repeat(60)}`,
    }));
    const error = { name: 'Error', message: `\u0000\ud800${'☃'.repeat(4 * 2 ** 20)}` };
    assert.deepEqual(await store.save([aSave(job, { status: 'failed', giveUp: true, error, barrierDbs })]), new Set(['a']));
    const found = await store.find('a');
    assert.equal(found?.steps, steps);
    assert.ok(found.error?.message.startsWith('\u0000\ud800☃☃'));
  });

  it('takes text that looks like operators and paths for text', async () => {
    const job = aJob({
      gid: 'a',
      instance: '$instance',
      queue: '$queue',
      tenant: '$$NOW',
      steps: '{"v":1,"steps":[{"n":"$steps","a":{"$ne":1}}]}',
    });
    await store.create([job]);
    const [claimed] = (await store.claimDue(aClaim({ queue: '$queue' }))) as [ClaimedJob];
    assert.deepEqual([claimed.instance, claimed.queue, claimed.tenant, claimed.steps], [job.instance, job.queue, job.tenant, job.steps]);
    const error = { name: '$name', message: '$steps' };
    await store.save([aSave(claimed, { giveUp: true, dueInMs: 0, queue: '$other', error })]);
    const found = await store.find('a');
    assert.deepEqual([found?.queue, found?.error], ['$other', error]);
  });

  mongodb.describe('in the transaction of the user', () => {
    it('refuses a commit that only one node would acknowledge, before anything is written', async () => {
      await inTransaction({ writeConcern: { w: 1 } }, async (session) => {
        await assert.rejects(
          async () => enlisted(session)?.create(aJob({ gid: 'a' })),
          (error) => SteppingError.is(error, 'STORE_REFUSED') && /"w":1.*majority/.test(error.message),
        );
        await session.commitTransaction();
      });
      assert.equal(await store.find('a'), undefined);
    });

    it('refuses a session without a transaction, also one whose transaction has ended', async () => {
      const session = await connection.startSession();
      const create = async () => enlisted(session)?.create(aJob({ gid: 'a' }));
      const isInactive = (error: unknown) => SteppingError.is(error, 'TX_NOT_ACTIVE');
      await assert.rejects(create, isInactive);
      session.startTransaction();
      await jobs.insertOne({ _id: 'other' } as JobDocument, { session });
      await session.commitTransaction();
      await assert.rejects(create, isInactive);
      await session.endSession();
      assert.equal(await store.find('a'), undefined);
    });

    it('takes part in sessions of its own client only, whatever the database', async () => {
      const [other, neighbour] = [await mongoose.createConnection(url).asPromise(), connection.useDb('neighbour')];
      const [foreign, mine] = [await other.startSession(), await neighbour.startSession()];
      assert.equal(enlisted(foreign), undefined);
      assert.notEqual(enlisted(mine), undefined);
      assert.equal(enlisted({}), undefined);
      assert.equal(store.enlist?.({ kind: 'mongoose', handle: undefined }), undefined);
      for (const session of [foreign, mine]) await session.endSession();
      await other.close();
    });

    it("lets a write conflict out as the driver's own error, with its label, so that the driver runs the transaction again", async () => {
      let runs = 0;
      await inTransaction(MAJORITY, async (rival) => {
        await enlisted(rival)?.create(aJob({ gid: 'a' }));
        const answer = await connection.transaction(async (session) => {
          runs++;
          const created = enlisted(session)?.create(aJob({ gid: 'a', instance: 'mine' }));
          if (runs === 1) {
            await created?.catch((error) => assert.equal(error.code, 112));
            await rival.abortTransaction();
          }
          return created;
        }, MAJORITY);
        assert.deepEqual(answer, { outcome: 'stored', lease: 1 });
      });
      assert.ok(runs > 1);
      assert.equal((await store.find('a'))?.instance, 'mine');
    });
  });

  it.each<[string, (base: mongoose.Mongoose) => void]>([
    ['strict schemas and queries', (base) => base.set({ strict: 'throw', strictQuery: 'throw', sanitizeFilter: true })],
    ['no indexes and no collections of their own', (base) => base.set({ autoIndex: false, autoCreate: false })],
    ['no buffering', (base) => base.set('bufferCommands', false)],
    ['no buffering, by a time', (base) => base.set('bufferTimeoutMS', 1)],
    ['plugins that refuse everything', (base) => base.plugin(refuseAll)],
    ['transactions for all they do', (base) => base.set('transactionAsyncLocalStorage', true)],
  ])('does not hear of what users set for their models: %s', async (_, set) => {
    const base = new mongoose.Mongoose();
    set(base);
    const users = await base.createConnection(url).asPromise();
    users.plugin(refuseAll);
    const own = openStore({ connection: users });
    await own.start();
    await own.create([aJob({ gid: 'a' })]);
    const together = await users.transaction(async (session) =>
      own.enlist?.({ kind: 'mongoose', handle: session })?.create(aJob({ gid: 'b' })),
    );
    assert.deepEqual(together, { outcome: 'stored', lease: 1 });
    const claimed = await own.claimDue(aClaim());
    const saves = claimed.map((job) => aSave(job, { step: 2, status: 'succeeded', giveUp: true }));
    assert.deepEqual(await own.save(saves), new Set(['a', 'b']));
    assert.equal((await own.stats()).succeeded, 2);
    await own.stop();
    await users.close();
  });

  it('asks no questions through the pool of the user, whose settings do not reach its jobs', async () => {
    const weak = await mongoose
      .createConnection(`${url}${url.includes('?') ? '&' : '?'}w=1&readPreference=secondaryPreferred`, {
        promoteValues: false,
        ignoreUndefined: true,
        maxPoolSize: 1,
      })
      .asPromise();
    const own = openStore({ connection: weak });
    await own.start();
    const busy = await weak.startSession();
    busy.startTransaction({ readPreference: 'primary', ...MAJORITY });
    const answer = await own.enlist?.({ kind: 'mongoose', handle: busy })?.create(aJob({ gid: 'a' }));
    assert.deepEqual(answer, { outcome: 'stored', lease: 1 });
    // The user's pool has one connection; the questions about its transaction do not go through it.
    assert.equal(await own.resolve('a', 'instance-of-a'), 'unknown');
    await busy.commitTransaction();
    await busy.endSession();
    assert.equal(await own.resolve('a', 'instance-of-a'), 'committed');
    const [claimed] = await own.claimDue(aClaim());
    assert.equal(claimed?.lease, 2);
    assert.equal(claimed?.wasHeld, false);
    await own.stop();
    await weak.close();
  });

  it('stores a large batch whole, and all but the gids that are taken or uncommitted elsewhere', async () => {
    const batch = (name: string) => Array.from({ length: 20 }, (_, i) => aJob({ gid: `${name}-${i}`, lease: i + 1, dueInMs: i * 1_000 }));
    const stored = (jobs: readonly CreateJob[]) => jobs.map(({ lease }) => ({ outcome: 'stored', lease }));
    const [free, taken, locked] = [batch('free'), batch('taken'), batch('locked')];
    assert.deepEqual(await store.create(free), stored(free));
    const [first, last] = [await store.find('free-0'), await store.find('free-19')] as [StoredJob, StoredJob];
    const dueAfterMs = (job: StoredJob) => (job.dueAt?.getTime() ?? Number.NaN) - job.createdAt.getTime();
    assert.deepEqual([dueAfterMs(first), dueAfterMs(last)], [0, 19_000]);
    assert.deepEqual(
      await store.create(free),
      free.map(({ lease }) => ({ outcome: 'repeated', status: 'submitted', lease })),
    );

    await store.create([{ ...(taken[7] as CreateJob), instance: 'theirs' }]);
    const answers = await store.create(taken);
    assert.deepEqual(answers[7], { outcome: 'duplicate', status: 'submitted' });
    assert.deepEqual(answers.toSpliced(7, 1), stored(taken).toSpliced(7, 1));

    await inTransaction(MAJORITY, async (session) => {
      await enlisted(session)?.create({ ...(locked[7] as CreateJob), instance: 'theirs' });
      const answers = await store.create(locked);
      assert.deepEqual(answers[7], { outcome: 'locked' });
      assert.deepEqual(answers.toSpliced(7, 1), stored(locked).toSpliced(7, 1));
    });
  }, 60_000);

  it('stores a job once whose commit is cut off again and again, before the server has it or after', async () => {
    const wire = await openWire(url);
    const far = await mongoose.createConnection(wire.url).asPromise();
    const farStore = openStore({ connection: far });
    await farStore.start();
    for (const how of ['before', 'after'] as const) {
      wire.cutCommits(how, 4); // the driver alone sends it twice
      assert.deepEqual(await farStore.create([aJob({ gid: how })]), [{ outcome: 'stored', lease: 1 }]);
    }
    assert.equal(wire.cuts, 8);
    assert.equal((await store.claimDue(aClaim())).length, 2);
    wire.cutCommits('before', 4);
    assert.equal(await farStore.resolve('other', 'mine'), 'rolled-back');
    await farStore.stop();
    await far.close();
    await wire.close();
  });

  it('waits for looks at all jobs as long as in SQL, and not for anything else', async () => {
    const { setTimeout } = Socket.prototype;
    let waits: number[] = [];
    Socket.prototype.setTimeout = function (ms, ...callback) {
      if (ms > 0) waits.push(ms);
      return setTimeout.call(this, ms, ...callback);
    };
    const isPatient = async (call: () => Promise<unknown>) => {
      waits = [];
      await call();
      return waits.includes(300_000);
    };
    try {
      for (const look of [
        () => store.stats(),
        () => store.list({ status: ['failed'], limit: 10 }),
        () => store.startPurge({ finishedMsAgo: 1_000_000, failedMsAgo: 1_000_000, limit: 10 }),
      ])
        assert.ok(await isPatient(look));
      assert.equal(await isPatient(() => store.find('a')), false);
    } finally {
      Socket.prototype.setTimeout = setTimeout;
    }
  });

  it('hears of jobs that are passed on to another queue, which may be that of another service', async () => {
    let heard = 0;
    const stop = store.onDue?.(() => heard++);
    await eventually(async () => {
      await store.create([aJob({ gid: crypto.randomUUID(), queue: 'other' })]);
      await new Promise((resolve) => setTimeout(resolve, 100));
      assert.notEqual(heard, 0); // it listens
    });
    const job = aJob({ gid: 'a', held: true, dueInMs: 10_000 }); // nobody is told of it
    await store.create([job]);
    const before = heard;
    await store.save([aSave(job, { step: 1, queue: 'mail', giveUp: true, dueInMs: 0 })]);
    for (let i = 0; heard === before && i < 200; i++) await new Promise((resolve) => setTimeout(resolve, 20));
    stop?.();
    assert.notEqual(heard, before);
  });

  mongodb.describe('behind a network that fails', () => {
    let proxy: TcpProxy;
    let far: Connection;
    let farStore: TransactionStore;

    beforeAll(async () => {
      proxy = await tcpProxy(`${url.split('?')[0]}?directConnection=true`);
      far = await mongoose.createConnection(proxy.url).asPromise();
      farStore = openStore({ connection: far });
      await farStore.start();
    });

    afterAll(async () => {
      await farStore.stop();
      await far.close();
      await proxy.close();
    });

    it('gives up renewing leases after a third of the lease when no answer comes', async () => {
      const job = await aClaimedJob('a');
      assert.deepEqual(await farStore.extend([job], 9_000), new Set(['a']));
      proxy.swallowAnswers();
      const began = performance.now();
      const error = await farStore.extend([job], 9_000).catch((reason) => reason);
      assert.ok(performance.now() - began < 9_000);
      assert.ok(error instanceof Error && !(error instanceof WriteRefused));
      proxy.cut();
      proxy.heal();
    });

    it('gives up whatever keeps jobs going when no answer comes, so that it can be sent again to another primary', async () => {
      const job = await aClaimedJob('a');
      await eventually(() => farStore.find('a'));
      const submit = { ...aChange, gid: 'b', from: ['prepared'], to: 'submitted' } as const;
      proxy.swallowAnswers();
      const began = performance.now();
      const errors = await Promise.all(
        [
          () => farStore.save([aSave(job, { step: 1 })]),
          () => farStore.change([submit]),
          () => farStore.create([aJob({ gid: 'c' })]),
          () => farStore.claimDue(aClaim({ limit: 10 })),
          () => farStore.nextDueInMs(['default']),
        ].map((call) => call().catch((error: unknown) => error)),
      );
      assert.ok(performance.now() - began < 15_000);
      for (const error of errors) assert.ok(error instanceof Error && !(error instanceof WriteRefused), String(error));
      proxy.cut();
      proxy.heal();
      // It was done, or is now: the very same write is told which.
      const saves = [aSave(job, { step: 2 })];
      await eventually(async () => assert.deepEqual(await farStore.save(saves), new Set(['a'])));
    }, 60_000);

    it('does not hold up the end of the process when no answer comes', async () => {
      const connection = await mongoose.createConnection(proxy.url).asPromise();
      const processor = hostedProcessor({ drainTimeoutMs: 100 });
      const stepping = createStepping({ steps: [], tm: localTm({ store: mongooseStore({ connection }), processor }) });
      await stepping.start();
      proxy.swallowAnswers();
      const began = performance.now();
      await stepping.stop();
      assert.ok(performance.now() - began < 10_000);
      proxy.cut();
      proxy.heal();
      await connection.close();
    });

    it('works again after all of its connections were lost, and hears of due jobs again', async () => {
      const job = await aClaimedJob('a');
      let heard = 0;
      const stop = farStore.onDue?.(() => heard++);
      const hears = async () => {
        const before = heard;
        for (let i = 0; heard === before; i++) {
          await store.create([aJob({ gid: `due-${before}-${i}`, queue: 'other' })]);
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      };
      await hears();
      proxy.cut();
      proxy.heal();
      for (const verb of [
        () => farStore.save([aSave(job, { step: 1 })]),
        () => farStore.extend([job], 10_000),
        () => farStore.create([aJob({ gid: 'b', queue: 'other' })]),
        () => farStore.claimDue(aClaim()),
        () => farStore.find('a'),
      ])
        await eventually(verb);
      await hears();
      stop?.();
    }, 60_000);

    it('says that nothing was written where the server cannot be reached', async () => {
      proxy.cut();
      await assert.rejects(farStore.create([aJob({ gid: 'c' })]), (error) => SteppingError.is(error, 'STORE_UNAVAILABLE'));
      await assert.rejects(farStore.find('c'), (error) => SteppingError.is(error, 'STORE_UNAVAILABLE'));
      assert.equal(await farStore.resolve('c', 'mine'), 'unknown');
      proxy.heal();
    }, 60_000);
  });

  /** Runs `work` while the next command of this kind fails so, once. */
  async function failing(data: mongo.Document, work: () => Promise<void>): Promise<void> {
    const admin = connection.getClient().db('admin');
    await admin.command({ configureFailPoint: 'failCommand', mode: { times: 1 }, data });
    try {
      await work();
    } finally {
      await admin.command({ configureFailPoint: 'failCommand', mode: 'off' });
    }
  }
});

/** Calls it again, as everybody who uses the store does: the first ones may meet the end of a connection. */
async function eventually(call: () => Promise<unknown>): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await call();
      return;
    } catch (error) {
      if (attempt === 5) throw error;
    }
  }
}

function refuseAll(schema: mongoose.Schema): void {
  const refuse = () => Promise.reject(new Error('a plugin of the user'));
  schema.pre(['save', 'insertMany', 'bulkWrite', 'updateOne', 'updateMany', 'find', 'findOne', 'aggregate'] as never, refuse);
}
