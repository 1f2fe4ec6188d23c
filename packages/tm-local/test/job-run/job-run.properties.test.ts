import { describe, it } from '@jest/globals';
import fc from 'fast-check';
import { property } from '../../../../test/properties.js';
import { type End, type Fate, type JobPlan, JobWorld, LEASE_MS } from './job-world.js';

type Command = fc.AsyncCommand<JobWorld, JobWorld>;
interface Verb<A> {
  readonly args: fc.Arbitrary<A>;
  readonly name: (args: A) => string;
  /** Left out where there is nothing that it could be done to. */
  readonly can?: (world: JobWorld, args: A) => boolean;
  readonly run: (world: JobWorld, args: A) => Promise<void>;
}

const always = () => true;
const pick = <T>(of: readonly T[], i: number): T => of[i % of.length] as T;
const serving = (world: JobWorld, w: number) => pick(world.workers, w);
const withOutcome = ({ transactions }: JobWorld, wanted: string) => transactions.filter(({ outcome }) => outcome === wanted);
const index = fc.nat(2);
const worker = fc.nat(1);
const nothing = fc.constant(undefined);

function verb<A>({ args, name, can = always, run }: Verb<A>, fault?: string): fc.Arbitrary<Command> {
  return args.map((args) => ({
    check: (world) => (fault === undefined || world.faults.includes(fault)) && can(world as JobWorld, args),
    run: async (world) => {
      await run(world, args);
      world.check();
    },
    toString: () => name(args),
  }));
}

const answer = (fate: Fate, fault?: string) =>
  verb(
    {
      args: index,
      name: (i) => `write ${i} is ${fate}`,
      can: ({ sent }) => sent.length > 0,
      run: (world, i) => world.answer(pick(world.sent, i), fate),
    },
    fault,
  );
const end = (how: End, fault?: string) =>
  verb(
    {
      args: index,
      name: (i) => `step ${i} ${how}`,
      can: ({ running }) => running.length > 0,
      run: (world, i) => world.end(pick(world.running, i), how),
    },
    fault,
  );
const pass = (ms: number) => verb({ args: fc.constant(ms), name: () => `${ms} ms pass`, run: (world) => world.advance(ms) });
const onJob = (name: string, run: (world: JobWorld, gid: string) => Promise<void>, fault?: string) =>
  verb({ args: index, name: (i) => `${name} ${i}`, run: (world, i) => run(world, pick(world.gids, i)) }, fault);
const onWorker = (
  name: string,
  can: boolean | undefined,
  run: (world: JobWorld, worker: JobWorld['workers'][0]) => Promise<void>,
  fault?: string,
) =>
  verb(
    {
      args: worker,
      name: (w) => `worker ${w} ${name}`,
      can: (world, w) => can === undefined || serving(world, w).stopping === can,
      run: (world, w) => run(world, serving(world, w)),
    },
    fault,
  );

/** What happens all the time, as often as it is named. */
const WORK = [
  ...Array.from({ length: 4 }, () => onWorker('claims', false, (world, w) => world.claim(w))),
  ...Array.from({ length: 8 }, () => answer('done')),
  ...Array.from({ length: 3 }, () => end('succeeds')),
  pass(LEASE_MS / 3),
  pass(LEASE_MS),
  pass(LEASE_MS),
  onWorker('renews', undefined, (world, w) => world.renew(w)),
];

/** What goes wrong, or comes from outside. A run has some of it, so that each is seen a lot of in some run. */
const FAULTS: Record<string, (fault: string) => readonly fc.Arbitrary<Command>[]> = {
  'steps that fail': (fault) => [end('fails', fault), end('fails', fault), pass(61_000)],
  'steps that fail for good, or ask to wait': (fault) => [end('fails for good', fault), end('asks to wait', fault)],
  crashes: (fault) => [onWorker('crashes', undefined, async (world, w) => world.crash(w), fault)],
  'deadly steps': (fault) => [
    onJob('deadly from now on: job', async (world, gid) => void world.lethal.add(gid), fault),
    onJob('deadly from now on: job', async (world, gid) => void world.lethal.add(gid), fault),
  ],
  stops: (fault) => [
    onWorker('stops', false, (world, w) => world.stop(w), fault),
    onWorker('aborts', true, (world, w) => world.abortRuns(w), fault),
    onWorker('exits', true, (world, w) => world.exit(w), fault),
  ],
  'other releases': (fault) => [
    onWorker(
      'is of an old release from now on, or of the new one again',
      undefined,
      async (_world, w) => {
        w.outdated = !w.outdated;
      },
      fault,
    ),
  ],
  'lost answers': (fault) => [answer('done, unheard', fault), answer('done twice', fault), answer('lost', fault), answer('refused', fault)],
  'late writes': (fault) => [
    answer('lands later', fault),
    verb({
      args: index,
      name: (i) => `write ${i} lands at last`,
      can: ({ late }) => late.length > 0,
      run: (world, i) => world.land(pick(world.late, i)),
    }),
  ],
  operators: (fault) => [
    onJob('cancel job', (world, gid) => world.operator(gid, 'cancelled'), fault),
    onJob('redrive job', (world, gid) => world.operator(gid, 'submitted'), fault),
    onJob('redrive job', (world, gid) => world.operator(gid, 'submitted'), fault),
  ],
  'gids used again': (fault) => [
    onJob('start job', (world, gid) => world.create(gid), fault),
    verb(
      {
        args: fc.tuple(index, worker),
        name: ([i, w]) => `worker ${w} starts job ${i} for itself`,
        can: (world, [, w]) => !serving(world, w).stopping,
        run: (world, [i, w]) => world.create(pick(world.gids, i), serving(world, w)),
      },
      fault,
    ),
    verb({ args: nothing, name: () => 'a day passes, and ended jobs are purged', run: (world) => world.purge() }, fault),
  ],
  transactions: (fault) => [
    verb(
      {
        args: fc.tuple(index, fc.constantFrom<'committed' | 'rolled-back'>('committed', 'committed', 'rolled-back')),
        name: ([i, outcome]) => `transaction ${i} is ${outcome}`,
        can: (world) => withOutcome(world, 'open').length > 0,
        run: (world, [i, outcome]) => world.endTransaction(pick(withOutcome(world, 'open'), i), outcome),
      },
      fault,
    ),
    verb({
      args: fc.tuple(index, fc.option(worker)),
      name: ([i, w]) => `submit of transaction ${i}${w === null ? '' : ` for worker ${w}`}`,
      can: (world, [, w]) => withOutcome(world, 'committed').length > 0 && (w === null || !serving(world, w).stopping),
      run: (world, [i, w]) => world.submit(pick(withOutcome(world, 'committed'), i), w === null ? undefined : serving(world, w)),
    }),
    verb({
      args: index,
      name: (i) => `abort of transaction ${i}`,
      can: (world) => withOutcome(world, 'rolled-back').length > 0,
      run: (world, i) => world.abort(pick(withOutcome(world, 'rolled-back'), i)),
    }),
    verb({ args: nothing, name: () => 'the databases are asked', run: (world) => world.queryBack() }, fault),
  ],
};

const commands = [...WORK, ...Object.entries(FAULTS).flatMap(([fault, verbs]) => verbs(fault))];
const history = fc.commands(commands, { maxCommands: 250, size: 'max' });
const plan: fc.Arbitrary<JobPlan> = fc.record({ steps: fc.integer({ min: 1, max: 3 }), prepared: fc.boolean(), elsewhere: fc.boolean() });
const scene = fc.record({
  plans: fc.array(plan, { minLength: 1, maxLength: 3 }),
  faults: fc.subarray(Object.keys(FAULTS), { minLength: 1, maxLength: 4 }),
});

describe('whatever happens to workers, writes and transactions', () => {
  for (const maxAttempts of [1, 2, 3, 4, 5, Number.POSITIVE_INFINITY]) {
    it(`jobs of ${maxAttempts} attempts a step have one writer, are started no more often, in order, and can all come to their end`, async () => {
      await fc.assert(
        fc.asyncProperty(scene, history, async ({ plans, faults }, history) => {
          const world = new JobWorld(plans, faults, maxAttempts);
          for (const gid of world.gids) await world.create(gid);
          await fc.asyncModelRun(() => ({ model: world, real: world }), history);
          await world.comeToAnEnd();
        }),
        property(500),
      );
    }, 60_000);
  }
});
