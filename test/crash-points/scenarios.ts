import { permanent, type StepContext, SteppingError } from '@stepping/core';
import { MENDED } from './accidents.js';
import type { Process, StepName } from './process.js';
import type { Start } from './stage.js';
import { type Stage, until } from './stage.js';

/** Where the jobs are: in the database of the business transaction, in another one, or on a DTM server. */
export type Path = 'enlisted' | 'two-phase' | 'dtm';

export interface Scenario {
  readonly name: string;
  /** The calls that the first process makes when nothing goes wrong, in order: the points of the enumeration. Without a list: not on this path. */
  readonly calls: Readonly<Partial<Record<Path, readonly string[]>>>;
  /** On DTM: which of them are points. What is the same in many scenarios has its accidents in one or two. */
  readonly pointsOnDtm?: RegExp;
  /** Only where writers wait for each other's rows, not for the whole file. */
  readonly rowLocks?: boolean;
  /** Only where a driver runs a transaction again that the server refused to go on with. */
  readonly repeats?: boolean;
  /** The lease is short, and really runs. */
  readonly shortLease?: boolean;
  /** Default true. */
  readonly sleepsPastThePurge?: boolean;
  /** What was before, by the process that has no accidents. */
  setUp?(stage: Stage): Promise<void>;
  /** What the first process does. */
  act(stage: Stage): Promise<void>;
  /** What steps do, beyond leaving their trace. */
  behaviour?(stage: Stage, step: string, context: StepContext<{ start: string }>, process: Process): Promise<void>;
  /** Statuses that the job may end in; undefined: no row. Default: see `audit.ts`. */
  readonly ends?: readonly (string | undefined)[];
  /** What else must hold after the recovery. */
  check?(stage: Stage): Promise<void>;
}

const RUN_BOTH = ['step.one', 'store.save', 'step.two', 'store.save'];

/** A step that DTM calls for. */
export const runOnDtm = (step: StepName, ...inside: string[]) => ['callback.step', 'ledger.begin', `step.${step}`, ...inside, 'ledger.end'];
export const RUN_BOTH_ON_DTM = [...runOnDtm('one'), ...runOnDtm('two')];
/** DTM knows no instances, so whose job is stored under a gid that somebody chose is looked up. */
export const PREPARE_ON_DTM = ['server.prepare', 'server.query', 'ledger.read'];
/** Beside the steps, which are enumerated in others. */
export const BESIDE_STEPS = /^(transaction|user|server|db|callback\.question|ledger\.read)/;
/** Beside the start, which is enumerated in others. */
export const AFTER_START = /^(callback|ledger\.(begin|extend|end)|step|once|server\.forceStop)/;

/** As the documentation tells users who hold their own transaction. */
async function commitAndSubmit(stage: Stage, start: Start, commitWhatever: boolean): Promise<void> {
  await stage.tell(stage.a, start, async () => {
    const { job, held, commit } = await stage.byHand(stage.a, start);
    try {
      try {
        await job.prepare();
      } catch (error) {
        start.refused = true;
        if (!commitWhatever) throw error;
        await commit();
        return 'no';
      }
      try {
        await commit();
      } catch (error) {
        const answer = await job.resolve();
        if (answer === 'unknown') return 'unknown';
        if (answer === 'rolled-back') throw error;
      }
      return (await job.submit()) === 'submitted' ? 'yes' : 'no';
    } finally {
      await held.release();
    }
  });
}

/** Its caller is gone after the end of its transaction: nobody submits or aborts. */
async function leftPrepared(stage: Stage, end: 'commit' | 'rollback'): Promise<void> {
  const { b } = stage;
  const { job, held } = await stage.byHand(b, stage.start(['one', 'two'], { tied: true }));
  await job.prepare();
  await (end === 'commit' ? held.commit() : held.rollback());
  await held.release();
}

/** A job that failed for good at its first step. */
export async function failed(stage: Stage): Promise<void> {
  const { b } = stage;
  b.claims = true;
  await stage.plainStart(b, stage.start(['one', 'two'], { tied: false }));
  await until('the job has failed', async () => (await stage.row())?.status === 'failed');
  b.claims = false;
  stage.done.add('set up');
}

export async function verb(stage: Stage, name: string, work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
    stage.done.add(name);
  } catch {
    // Told by its absence.
  }
}

export const failsInSetUp: NonNullable<Scenario['behaviour']> = async (stage) => {
  if (!stage.done.has('set up')) throw permanent('no such account');
};

/** Whoever was not heard says it again: nothing may be in a state that nobody can leave. */
export async function redriven(stage: Stage): Promise<void> {
  const row = await stage.row();
  if (stage.done.has('redrive') && row?.status === 'failed') throw new Error('redrive was acknowledged, but the job is still failed');
  if (row?.status !== 'failed') return;
  await stage.b.stepping.jobs.redrive(stage.gid);
  await until('the redriven job has succeeded', async () => (await stage.row())?.status === 'succeeded');
}

export const SCENARIOS: readonly Scenario[] = [
  {
    name: 'start in a transaction of ours',
    calls: {
      dtm: ['transaction.insertBarrier', ...PREPARE_ON_DTM, 'transaction.commit', 'server.submit', ...RUN_BOTH_ON_DTM],
      'two-phase': ['transaction.insertBarrier', 'store.create', 'transaction.commit', 'store.change', ...RUN_BOTH],
      enlisted: ['enlisted.create', 'transaction.commit', ...RUN_BOTH],
    },
    act: (stage) => stage.inTransaction(stage.a, stage.start(['one', 'two'], { tied: true })),
    async check({ a: { accident, calls }, starts: [start] }) {
      if (!accident || !MENDED.has(accident.kind)) return;
      // The first commit has failed for good, and its gid with it.
      if (start && isDead(start) && accident.kind === 'ended by the server' && accident.call === 'transaction.commit') return;
      if (start?.told !== 'yes') throw new Error(`What the driver mends was told: ${start?.error}`);
      const runs = calls.filter((call) => call === 'transaction.insertBarrier' || call === 'enlisted.create').length;
      if (runs !== (accident.kind === 'ended by the server' ? 2 : 1)) throw new Error(`The body ran ${runs} times`);
    },
  },
  {
    name: 'start in a transaction of ours, after a write conflict',
    repeats: true,
    pointsOnDtm: BESIDE_STEPS,
    calls: {
      dtm: ['transaction.insertBarrier', ...PREPARE_ON_DTM, 'transaction.commit', 'server.submit', ...RUN_BOTH_ON_DTM],
      'two-phase': ['transaction.insertBarrier', 'store.create', 'transaction.commit', 'store.change', ...RUN_BOTH],
      enlisted: ['enlisted.create', 'transaction.commit', ...RUN_BOTH],
    },
    async act(stage) {
      const start = stage.start(['one', 'two'], { tied: true });
      const rival = await stage.b.business.begin(start.id);
      const started = stage.inTransaction(stage.a, start);
      await until('the body is run again', () => stage.bodies > 1);
      await rival.rollback();
      await rival.release();
      await started;
    },
  },
  {
    name: 'prepare, commit by hand, submit',
    pointsOnDtm: BESIDE_STEPS,
    calls: {
      dtm: ['transaction.insertBarrier', ...PREPARE_ON_DTM, 'user.commit', 'db.hasCommitted', 'server.submit', ...RUN_BOTH_ON_DTM],
      'two-phase': ['transaction.insertBarrier', 'store.create', 'user.commit', 'db.hasCommitted', 'store.change', ...RUN_BOTH],
      enlisted: ['enlisted.create', 'user.commit', 'store.find', 'store.claimDue', ...RUN_BOTH],
    },
    act: (stage) => commitAndSubmit(stage, stage.start(['one', 'two'], { tied: true }), false),
  },
  {
    name: 'prepare, commit by hand whatever it said',
    pointsOnDtm: BESIDE_STEPS,
    calls: {
      dtm: ['transaction.insertBarrier', ...PREPARE_ON_DTM, 'user.commit', 'db.hasCommitted', 'server.submit', ...RUN_BOTH_ON_DTM],
      'two-phase': ['transaction.insertBarrier', 'store.create', 'user.commit', 'db.hasCommitted', 'store.change', ...RUN_BOTH],
      enlisted: ['enlisted.create', 'user.commit', 'store.find', 'store.claimDue', ...RUN_BOTH],
    },
    act: (stage) => commitAndSubmit(stage, stage.start(['one', 'two'], { tied: true }), true),
  },
  {
    name: 'rollback by hand, submit in a finally',
    calls: {
      dtm: [
        'transaction.insertBarrier',
        ...PREPARE_ON_DTM,
        'user.rollback',
        'db.hasCommitted',
        'db.resolveInDoubt',
        'server.query',
        'ledger.read',
        'server.abort',
      ],
      'two-phase': [
        'transaction.insertBarrier',
        'store.create',
        'user.rollback',
        'db.hasCommitted',
        'db.resolveInDoubt',
        'store.find',
        'store.change',
      ],
      enlisted: ['enlisted.create', 'user.rollback', 'store.find', 'store.resolve'],
    },
    async act(stage) {
      const start = stage.start(['one', 'two'], { tied: true });
      await stage.tell(stage.a, start, async () => {
        const { job, held, rollback } = await stage.byHand(stage.a, start);
        let answer: string | undefined;
        try {
          await job.prepare();
          await rollback();
        } finally {
          try {
            answer = await job.submit();
          } finally {
            await held.release();
          }
        }
        return answer === 'submitted' ? 'yes' : 'no';
      });
    },
  },
  {
    name: 'commit by hand unheard, then resolve',
    pointsOnDtm: BESIDE_STEPS,
    calls: {
      dtm: ['transaction.insertBarrier', ...PREPARE_ON_DTM, 'db.resolveInDoubt', 'server.submit', ...RUN_BOTH_ON_DTM],
      'two-phase': ['transaction.insertBarrier', 'store.create', 'db.resolveInDoubt', 'store.change', ...RUN_BOTH],
      enlisted: ['enlisted.create', 'store.resolve', 'store.claimDue', ...RUN_BOTH],
    },
    act: (stage) => resolveAfter(stage, 'commit'),
  },
  {
    name: 'connection lost before the commit by hand, then resolve',
    calls: {
      dtm: ['transaction.insertBarrier', ...PREPARE_ON_DTM, 'db.resolveInDoubt', 'server.query', 'ledger.read', 'server.abort'],
      'two-phase': ['transaction.insertBarrier', 'store.create', 'db.resolveInDoubt', 'store.find', 'store.change'],
      enlisted: ['enlisted.create', 'store.resolve'],
    },
    act: (stage) => resolveAfter(stage, 'rollback'),
  },
  {
    name: 'start of a gid that exists',
    calls: {
      dtm: ['transaction.insertBarrier', ...PREPARE_ON_DTM, 'transaction.deleteBarrier', 'transaction.rollback'],
      'two-phase': ['transaction.insertBarrier', 'store.create', 'transaction.deleteBarrier', 'transaction.rollback'],
      enlisted: ['enlisted.create', 'transaction.rollback'],
    },
    async setUp(stage) {
      stage.b.claims = true;
      await stage.inTransaction(stage.b, stage.start(['one', 'two'], { tied: true, id: 'first' }));
      await until('the first job has ended', async () => (await stage.row())?.status === 'succeeded');
      stage.b.claims = false;
    },
    async act(stage) {
      const start = stage.start(['one', 'two'], { tied: true, id: 'second' });
      await stage.inTransaction(stage.a, start);
      if (start.told === 'yes' && !isPurged(stage)) throw new Error('The second start was told that it went well');
    },
  },
  {
    name: 'two starts of one gid',
    pointsOnDtm: BESIDE_STEPS,
    calls: {
      dtm: [
        'transaction.insertBarrier',
        ...PREPARE_ON_DTM,
        'transaction.commit',
        'server.submit',
        ...RUN_BOTH_ON_DTM,
        'transaction.insertBarrier',
        ...PREPARE_ON_DTM,
        'transaction.deleteBarrier',
        'transaction.rollback',
      ],
      'two-phase': [
        'transaction.insertBarrier',
        'store.create',
        'transaction.commit',
        'store.change',
        ...RUN_BOTH,
        'transaction.insertBarrier',
        'store.create',
        'transaction.deleteBarrier',
        'transaction.rollback',
      ],
      enlisted: ['enlisted.create', 'transaction.commit', ...RUN_BOTH, 'enlisted.create', 'transaction.rollback'],
    },
    async act(stage) {
      const { a } = stage;
      await stage.inTransaction(a, stage.start(['one', 'two'], { tied: true, id: 'first' }));
      await until('the first job has ended', async () => a.happened || (await stage.row())?.status === 'succeeded');
      await stage.inTransaction(a, stage.start(['one', 'two'], { tied: true, id: 'second' }));
    },
    async check(stage) {
      // Whoever was not told goes on asking, with the same gid.
      for (let i = 0; !stage.starts.some((start) => start.told === 'yes' || isDuplicate(start) || isDead(start)); i++) {
        if (i === 20) throw new Error('A repeat with the same gid is never answered');
        await stage.inTransaction(stage.b, stage.start(['one', 'two'], { tied: true, id: `repeat-${i}` }));
      }
      if (isPurged(stage)) return;
      const deeds = await Promise.all(stage.starts.map((start) => stage.committed(start)));
      if (deeds.filter(Boolean).length !== (stage.starts.some(isDead) ? 0 : 1))
        throw new Error(`${deeds.filter(Boolean).length} starts of one gid committed`);
    },
  },
  {
    name: 'plain start of two steps',
    calls: { enlisted: ['store.create', ...RUN_BOTH], dtm: [...PREPARE_ON_DTM, 'server.submit', ...RUN_BOTH_ON_DTM] },
    act: (stage) => stage.plainStart(stage.a, stage.start(['one', 'two'], { tied: false })),
  },
  {
    name: 'a step that fails once',
    pointsOnDtm: AFTER_START,
    calls: {
      enlisted: ['store.create', 'step.one', 'store.save', 'store.claimDue', ...RUN_BOTH],
      dtm: [...PREPARE_ON_DTM, 'server.submit', ...runOnDtm('one'), ...RUN_BOTH_ON_DTM],
    },
    act: (stage) => stage.plainStart(stage.a, stage.start(['one', 'two'], { tied: false })),
    async behaviour(stage, step) {
      if (step === 'one' && stage.world.trace.filter(({ what }) => what === 'begins').length === 1) throw new Error('not yet');
    },
  },
  {
    name: 'an effect once',
    calls: {
      enlisted: ['store.create', 'step.one', 'once.work', 'once.commit', 'store.save', 'step.two', 'store.save'],
      'two-phase': ['store.create', 'step.one', 'once.work', 'once.commit', 'store.save', 'step.two', 'store.save'],
      dtm: [...PREPARE_ON_DTM, 'server.submit', ...runOnDtm('one', 'once.work', 'once.commit'), ...runOnDtm('two')],
    },
    pointsOnDtm: AFTER_START,
    // R10 looks at how long ago the lease ended, which no harness can put forward.
    sleepsPastThePurge: false,
    act: (stage) => stage.plainStart(stage.a, stage.start(['one', 'two'], { tied: false })),
    async behaviour({ gid }, step, context, process) {
      if (step === 'one') await process.effect(context, `${gid}/effect-${crypto.randomUUID()}`);
    },
    async check({ world, gid }) {
      const began = world.trace.length > 0;
      const effects = (await world.business.deedsOf(gid)).filter((id) => id.startsWith(`${gid}/effect-`));
      if (effects.length !== Number(began)) throw new Error(`${effects.length} effects of a step that is to have one`);
    },
  },
  {
    name: 'a step with one attempt',
    pointsOnDtm: AFTER_START,
    calls: {
      enlisted: ['store.create', 'store.save', 'step.once', 'store.save'],
      dtm: [...PREPARE_ON_DTM, 'server.submit', ...runOnDtm('once')],
    },
    act: (stage) => stage.plainStart(stage.a, stage.start(['once'], { tied: false })),
    ends: ['succeeded', 'failed', undefined],
    async check(stage) {
      const begun = stage.world.trace.filter(({ what }) => what === 'begins').length;
      // One that woke up too late is the one start that no fence stops.
      if (begun > 1) throw new Error(`A step with one attempt was started ${begun} times`);
      if ((await stage.row())?.status === 'failed') await stage.b.stepping.jobs.redrive(stage.gid);
      await until('the redriven job has ended', async () => (await stage.row())?.status !== 'submitted');
    },
  },
  {
    name: 'a step longer than its lease',
    shortLease: true,
    calls: { enlisted: ['store.create', 'step.one', 'store.extend', 'store.save'] },
    act: (stage) => stage.plainStart(stage.a, stage.start(['one'], { tied: false })),
    behaviour: (stage) => new Promise((resolve) => setTimeout(resolve, stage.a.happened ? 0 : 900)),
  },
  {
    name: 'start of a gid that is open elsewhere',
    rowLocks: true,
    calls: { enlisted: ['store.create', 'store.createAlone', ...RUN_BOTH] },
    async act(stage) {
      const { a, b } = stage;
      const first = await stage.byHand(b, stage.start(['one', 'two'], { tied: true, id: 'first' }));
      await first.job.prepare();
      const second = stage.plainStart(a, stage.start(['one', 'two'], { tied: false, id: 'second' }));
      await until('the second start waits', () => a.happened || a.calls.includes('store.createAlone'));
      await first.rollback();
      await first.held.release();
      await second;
    },
  },
  {
    name: 'redrive',
    calls: {
      enlisted: ['store.change', 'store.find', 'store.claimDue', ...RUN_BOTH],
      dtm: ['server.query', 'server.query', 'ledger.read', 'server.prepare', 'server.query', 'server.submit', ...RUN_BOTH_ON_DTM],
    },
    setUp: failed,
    act: (stage) => verb(stage, 'redrive', () => stage.a.stepping.jobs.redrive(stage.gid)),
    behaviour: failsInSetUp,
    ends: ['succeeded', 'failed', undefined],
    check: redriven,
  },
  {
    name: 'redrive of all',
    calls: { enlisted: ['store.list', 'store.change', 'store.claimDue', ...RUN_BOTH] },
    setUp: failed,
    act: (stage) => verb(stage, 'redrive', () => stage.a.stepping.jobs.redriveAll({ step: 'one' })),
    behaviour: failsInSetUp,
    ends: ['succeeded', 'failed', undefined],
    check: redriven,
  },
  {
    name: 'cancel while a step runs',
    calls: { enlisted: ['store.create', 'step.one', 'store.find', 'store.change'] },
    async act(stage) {
      const { a, gid, world } = stage;
      await stage.plainStart(a, stage.start(['one', 'two'], { tied: false }));
      await until('the step runs', () => a.happened || world.trace.length > 0);
      await verb(stage, 'cancel', () => a.stepping.jobs.cancel(gid, 'wrong customer'));
      if (stage.done.has('cancel')) world.trace.push({ what: 'cancelled', start: '', step: '' });
      stage.done.add('asked');
    },
    behaviour: (stage, step) =>
      step === 'one' ? until('the cancel has been asked for', () => stage.done.has('asked') || stage.a.happened) : Promise.resolve(),
    ends: ['cancelled', 'succeeded', undefined],
    async check(stage) {
      const row = await stage.row();
      if (stage.done.has('cancel') && row && row.status !== 'cancelled')
        throw new Error(`A cancel was acknowledged, but the job is ${row.status}`);
    },
  },
  {
    name: 'cancel of a failed job',
    calls: { enlisted: ['store.find', 'store.change'] },
    setUp: failed,
    act: (stage) => verb(stage, 'cancel', () => stage.a.stepping.jobs.cancel(stage.gid)),
    behaviour: failsInSetUp,
    ends: ['cancelled', 'failed', undefined],
    async check(stage) {
      const row = await stage.row();
      if (stage.done.has('cancel') && row && row.status !== 'cancelled')
        throw new Error(`A cancel was acknowledged, but the job is ${row.status}`);
    },
  },
  ...(['commit', 'rollback'] as const).flatMap((end): Scenario[] => [
    {
      name: `query-back after a ${end}`,
      pointsOnDtm: BESIDE_STEPS,
      calls: {
        dtm: ['callback.question', 'db.resolveInDoubt', ...(end === 'commit' ? RUN_BOTH_ON_DTM : [])],
        'two-phase': ['store.claimDue', 'db.resolveInDoubt', 'store.save', ...(end === 'commit' ? ['store.claimDue', ...RUN_BOTH] : [])],
      },
      setUp: (stage) => leftPrepared(stage, end),
      act: (stage) => stage.timePasses(),
    },
    {
      name: `settle after a ${end}`,
      pointsOnDtm: BESIDE_STEPS,
      calls: {
        dtm: [
          'server.query',
          'ledger.read',
          'db.resolveInDoubt',
          ...(end === 'commit' ? ['server.submit', ...RUN_BOTH_ON_DTM] : ['server.abort']),
        ],
        'two-phase': ['store.find', 'db.resolveInDoubt', 'store.change', ...(end === 'commit' ? ['store.claimDue', ...RUN_BOTH] : [])],
      },
      setUp: (stage) => leftPrepared(stage, end),
      act: (stage) =>
        verb(stage, 'settle', () =>
          stage.a.stepping.jobs.settle(stage.gid, end === 'commit' ? 'submitted' : 'rolled-back', 'the database is gone'),
        ),
    },
  ]),
  {
    name: 'purge',
    calls: {
      'two-phase': ['store.startPurge', 'db.purgeBarriers', 'store.finishPurge'],
      enlisted: ['store.startPurge', 'db.purgeBarriers', 'store.finishPurge'],
    },
    async setUp(stage) {
      stage.b.claims = true;
      await stage.inTransaction(stage.b, stage.start(['one', 'two'], { tied: true }));
      await until('the job has ended', async () => (await stage.row())?.status === 'succeeded');
      stage.b.claims = false;
      await stage.longAfter();
    },
    act: (stage) => verb(stage, 'purge', () => stage.a.stepping.jobs.purge({ finishedBefore: new Date(Date.now() - 7_200_000) })),
    ends: ['succeeded', 'purging', undefined],
    async check(stage) {
      await stage.purge();
      const row = await stage.row();
      const barriers = await stage.world.business.barriersOf(stage.gid);
      if (row || barriers > 0) throw new Error(`Purged again, but there is ${row?.status ?? 'no row'} and ${barriers} barriers`);
      const again = stage.start(['one', 'two'], { tied: true, id: 'again' });
      await stage.inTransaction(stage.b, again);
      if (again.told !== 'yes') throw new Error(`The gid cannot be started anew: ${again.error}`);
      await until('the job of the new start has ended', async () => (await stage.row())?.status === 'succeeded');
    },
  },
];

/** The commit is sent, or the connection is lost before that; either way its owner hears nothing, and asks. */
async function resolveAfter(stage: Stage, what: 'commit' | 'rollback'): Promise<void> {
  const start = stage.start(['one', 'two'], { tied: true });
  await stage.tell(stage.a, start, async () => {
    const { job, held } = await stage.byHand(stage.a, start);
    try {
      await job.prepare();
      if (what === 'commit') await held.commit();
      else await stage.a.business.breakConnection(held.handle, 'user.commit').end();
      const answer = await job.resolve();
      if (answer === 'unknown') return 'unknown';
      return (await job.submit()) === 'submitted' ? 'yes' : 'no';
    } finally {
      await held.release();
    }
  });
}

/** Idempotency lasts as long as the retention. */
function isPurged({ a }: Stage): boolean {
  return a.accident?.kind === 'sleeps past the purge';
}

/** On DTM: rolled back, and never to be used again. */
function isDead({ error }: Start): boolean {
  return SteppingError.is(error, 'JOB_STATUS');
}

function isDuplicate({ error }: Start): boolean {
  return SteppingError.is(error, 'JOB_DUPLICATE');
}
