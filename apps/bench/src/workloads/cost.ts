import type { Values } from '../measured.js';
import { perJob } from '../per-job.js';
import { countStatements } from '../statement-counter.js';
import { type Setting, setUp } from './setting.js';

/** Jobs in all, and rounds at least. */
const JOBS = 3_000;
const MIN_ROUNDS = 5;
const MAX_ROUNDS = 200;
const TIMEOUT_MS = 60_000;

/** What a job costs from its start to its end, when so many are started at once in one process and run in another. */
export async function cost(setting: Setting, { steps, together }: { steps: number; together: number }): Promise<Values> {
  const { databases, quick } = setting;
  const { task, open } = await setUp(setting, { jobs: 0, steps }, together);
  const counter = await countStatements(task.database);
  if (counter === undefined) throw new Error('Statements to this database cannot be counted.');
  const way = { database: counter.database, orders: counter.database };
  const producer = await open('producer', way);
  const worker = await open('worker', way);
  try {
    let ran = 0;
    let onRan = () => {};
    worker.on('count', (report) => {
      ran = report.steps;
      onRan();
    });
    let enqueued = 0;
    const round = async () => {
      const firstId = enqueued;
      enqueued += together;
      const allRan = new Promise<void>((resolve) => {
        onRan = () => {
          if (ran >= enqueued * steps) resolve();
        };
      });
      await producer.ask({ type: 'enqueue', firstId, count: together }, 'enqueued', TIMEOUT_MS);
      onRan();
      await allRan;
      await worker.ask({ type: 'watch' }, 'stored', TIMEOUT_MS);
    };
    await worker.ask({ type: 'start' }, 'started', TIMEOUT_MS);
    for (let i = 0; i < 3; i++) await round(); // connections, prepared statements
    const looks = await counted(() => worker.ask({ type: 'watch' }, 'stored', TIMEOUT_MS), counter.statements);
    const counting = await perJob(databases, task.database);
    const statements = counter.statements();
    const rounds = quick ? 3 : Math.min(MAX_ROUNDS, Math.max(MIN_ROUNDS, Math.round(JOBS / together)));
    for (let i = 0; i < rounds; i++) await round();
    const jobs = rounds * together;
    return { statementsPerJob: (counter.statements() - statements - looks * rounds) / jobs, ...(await counting(jobs)) };
  } finally {
    await Promise.all([producer.end(), worker.end()]);
    await counter.stop();
  }
}

async function counted(work: () => Promise<unknown>, statements: () => number): Promise<number> {
  const before = statements();
  await work();
  return statements() - before;
}
