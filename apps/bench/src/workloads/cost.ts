import type { Child } from '../child-process.js';
import type { Values } from '../measured.js';
import { perJob } from '../per-job.js';
import { countStatements } from '../statement-counter.js';
import { type Setting, type Stage, setUp } from './setting.js';

/** Jobs in all, and rounds at least and at most. */
const JOBS = 3_000;
const MIN_ROUNDS = 5;
const MAX_ROUNDS = 200;
const QUICK_ROUNDS = 3;
/** Connections are opened and statements prepared in them. */
const WARM_UP_ROUNDS = 3;
const TIMEOUT_MS = 60_000;

interface Shape {
  readonly steps: number;
  readonly together: number;
}

/** What a job costs from its start to its end, when so many are started at once in one process and run in another: the difference of a long and a short run. */
export async function cost(setting: Setting, shape: Shape): Promise<Values> {
  const { databases, quick } = setting;
  const stage = await setUp(setting, { jobs: 0, steps: shape.steps }, shape.together);
  const { database } = stage.task;
  const counter = await countStatements(database);
  if (counter === undefined) throw new Error('Statements to this database cannot be counted.');
  // Servers say what a connection did when it is closed, so each run has its own.
  const counted = async (rounds: number): Promise<Values> => {
    const counting = await perJob(databases, database);
    const before = counter.statements();
    const looks = await run(stage, counter.database, shape, rounds);
    const statements = counter.statements() - before - looks;
    const { commitsPerJob, ...others } = await counting(1);
    return { statementsPerJob: statements, ...(commitsPerJob !== undefined && { commitsPerJob: commitsPerJob - looks }), ...others };
  };
  try {
    await run(stage, counter.database, shape, WARM_UP_ROUNDS); // the first writes to a page after a checkpoint log all of it
    const short = await counted(WARM_UP_ROUNDS);
    const rounds = quick ? QUICK_ROUNDS : Math.min(MAX_ROUNDS, Math.max(MIN_ROUNDS, Math.round(JOBS / shape.together)));
    const long = await counted(WARM_UP_ROUNDS + rounds);
    return Object.fromEntries(
      Object.entries(long).map(([key, value]) => [key, (value - (short[key] ?? Number.NaN)) / (rounds * shape.together)]),
    );
  } finally {
    await counter.stop();
  }
}

/** Answers how often it looked whether all was stored. */
async function run({ open }: Stage, database: string, shape: Shape, rounds: number): Promise<number> {
  const processes: Child[] = [];
  const opened = async (role: 'producer' | 'worker') => {
    const child = await open(role, { database, orders: database });
    processes.push(child);
    return child;
  };
  try {
    const [producer, worker] = [await opened('producer'), await opened('worker')];
    await worker.ask({ type: 'start' }, 'started', TIMEOUT_MS);
    let looks = 0;
    for (let i = 0; i < rounds; i++) looks += await round(producer, worker, shape, i);
    return looks;
  } finally {
    await Promise.all(processes.map((child) => child.end()));
  }
}

async function round(producer: Child, worker: Child, { steps, together }: Shape, number: number): Promise<number> {
  const allRan = worker.nextMatching('count', (report) => report.steps >= (number + 1) * together * steps, TIMEOUT_MS);
  await Promise.all([allRan, producer.ask({ type: 'enqueue', firstId: number * together, count: together }, 'enqueued', TIMEOUT_MS)]);
  return (await worker.ask({ type: 'watch' }, 'stored', TIMEOUT_MS)).looks;
}
