// One measurement, in a process of its own: `node measure.js TASK`, where TASK is JSON. Prints what it measured as JSON.

import { setTimeout as sleep } from 'node:timers/promises';
import { type Contestant, payload } from './contestant.js';
import { CONTESTANTS } from './contestants.js';
import type { Measurement, Task } from './measurement.js';
import { serverCpuOf } from './server-cpu.js';

/** Jobs that are started at once to fill a backlog. */
const FILLERS = 2_000;
/** Of a drain's jobs: run before the clock starts. */
const WARM_UP_PART = 0.1;
/** Between two looks whether all is stored. Unit: ms. */
const LOOK_MS = 2;

const task: Task = JSON.parse(process.argv[2] ?? '');
const contestant = CONTESTANTS[task.kind][task.contestant];
const serverCpu = task.kind === 'PostgreSQL' ? await serverCpuOf(task.database) : undefined;
const measured = await run();
if (measured) console.log(JSON.stringify(measured));

async function run(): Promise<Measurement | undefined> {
  switch (task.action) {
    case 'create':
      await contestant.create(task.database);
      return undefined;
    case 'fill':
      await fill(contestant, task);
      return undefined;
    case 'drain':
      return drain(contestant, task);
    case 'enqueue':
      return enqueue(contestant, task);
  }
}

async function fill({ openProducer }: Contestant, { database, jobs }: { database: string; jobs: number }): Promise<void> {
  const producer = await openProducer(database);
  let next = 0;
  await fromLoops(FILLERS, async () => {
    while (next < jobs) await producer.enqueue(3, payload(next++));
  });
  await producer.close();
}

/** The clock runs from when a tenth of the steps have run until the store says that every job is finished. */
async function drain({ openWorker }: Contestant, { database, jobs }: { database: string; jobs: number }): Promise<Measurement> {
  const allSteps = 3 * jobs;
  const warmUpSteps = Math.ceil(allSteps * WARM_UP_PART);
  const { promise: allRan, resolve } = Promise.withResolvers<void>();
  let steps = 0;
  let began = stopwatch();
  const worker = await openWorker(database, () => {
    steps++;
    if (steps === warmUpSteps) began = stopwatch();
    if (steps === allSteps) resolve();
  });
  await allRan;
  while (await worker.hasUnfinished()) await sleep(LOOK_MS);
  const measured = began((allSteps - warmUpSteps) / 3);
  await worker.close();
  if (steps !== allSteps) throw new Error(`${steps} steps ran instead of ${allSteps}`);
  return measured;
}

async function enqueue(
  { openProducer }: Contestant,
  { database, callers, warmUpMs, runMs }: { database: string; callers: number; warmUpMs: number; runMs: number },
): Promise<Measurement> {
  const producer = await openProducer(database);
  const endsAt = performance.now() + warmUpMs + runMs;
  let durable = 0;
  let durableBefore = 0;
  let began = stopwatch();
  setTimeout(() => {
    durableBefore = durable;
    began = stopwatch();
  }, warmUpMs);
  const loops = fromLoops(callers, async () => {
    while (performance.now() < endsAt) {
      await producer.enqueue(1, payload(durable));
      durable++;
    }
  });
  await sleep(warmUpMs + runMs);
  const measured = began(durable - durableBefore);
  await loops;
  await producer.close();
  return measured;
}

async function fromLoops(count: number, loop: () => Promise<void>): Promise<void> {
  await Promise.all(Array.from({ length: count }, loop));
}

function stopwatch(): (jobs: number) => Measurement {
  const at = performance.now();
  const cpu = process.cpuUsage();
  const cpuOfServer = serverCpu?.() ?? Number.NaN;
  return (jobs) => {
    const elapsedMs = performance.now() - at;
    const { user, system } = process.cpuUsage(cpu);
    return {
      jobsPerSecond: (jobs * 1_000) / elapsedMs,
      clientCpuUs: (user + system) / jobs,
      serverCpuUs: ((serverCpu?.() ?? Number.NaN) - cpuOfServer) / jobs,
    };
  };
}
