import type { Child } from '../child-process.js';
import type { Values } from '../measured.js';
import { perJob } from '../per-job.js';
import type { Usage } from '../protocol.js';
import { hostTime, idleShare, serverCpuUs } from '../server-cpu.js';
import { type Setting, setUp } from './setting.js';

/** Memory is looked at when so many jobs have run, too: a large backlog is drained for longer, and the heap of a process grows with its age. */
const FIRST_JOBS = 10_000;
/** Of a drain's steps: run before the clock starts. */
const WARM_UP_PART = 0.1;
/** A drain that takes longer, and so much longer for every job, is given up. Unit: ms. */
const TIMEOUT_MS = 300_000;
const TIMEOUT_MS_PER_JOB = 1;

/** W2, W5, W6 and the memory: a backlog is run. The clock stops when the store holds no unfinished job, so that nobody wins by acknowledging early. */
export async function drain(
  setting: Setting,
  { jobs, steps, processes }: { jobs: number; steps: number; processes: number },
): Promise<Values> {
  const { databases } = setting;
  const { task, open } = await setUp(setting, { jobs, steps });
  const counted = await perJob(databases, task.database);
  const workers: Child[] = [];
  try {
    for (let index = 0; index < processes; index++) workers.push(await open('worker', { index }));
    const values = await timed(setting, workers, { jobs, steps });
    await Promise.all(workers.map((worker) => worker.end()));
    return { ...values, ...(await counted(jobs)) };
  } finally {
    await Promise.all(workers.map((worker) => worker.end()));
  }
}

async function timed({ databases }: Setting, workers: readonly Child[], { jobs, steps }: { jobs: number; steps: number }): Promise<Values> {
  const allSteps = jobs * steps;
  const counts = workers.map(() => 0);
  const usages: Usage[] = workers.map(() => ({ cpuUs: 0, peakRssMib: 0 }));
  const ran = () => sum(counts);
  const cpuUs = () => sum(usages.map((usage) => usage.cpuUs));
  let rssAtFirstMib = Number.NaN;
  let begin: { at: number; steps: number; cpuUs: number; serverCpuUs: number; host: ReturnType<typeof hostTime> } | undefined;

  const { promise: allRan, resolve, reject } = Promise.withResolvers<void>();
  const timeoutMs = TIMEOUT_MS + TIMEOUT_MS_PER_JOB * jobs;
  const timer = setTimeout(() => reject(new Error(`${ran()} of ${allSteps} steps have run in ${timeoutMs} ms.`)), timeoutMs);
  for (const [i, worker] of workers.entries()) {
    worker.on('count', ({ at, steps: count, ...usage }) => {
      counts[i] = count;
      usages[i] = usage;
      if (begin === undefined && ran() >= allSteps * WARM_UP_PART) {
        begin = { at, steps: ran(), cpuUs: cpuUs(), serverCpuUs: serverCpuUs(databases.serverPid), host: hostTime() };
      }
      if (ran() <= FIRST_JOBS * steps) rssAtFirstMib = Math.max(...usages.map(({ peakRssMib }) => peakRssMib));
      if (ran() >= allSteps) resolve();
    });
  }
  try {
    for (const worker of workers) worker.order({ type: 'start' });
    await allRan;
  } finally {
    clearTimeout(timer);
  }
  const [first] = workers as [Child];
  const { at: endedAt } = await first.ask({ type: 'watch' }, 'stored', TIMEOUT_MS);
  const serverCpu = serverCpuUs(databases.serverPid);
  const host = begin && idleShare(begin.host);
  const after = await Promise.all(workers.map((worker) => worker.ask({ type: 'usage' }, 'usage', TIMEOUT_MS)));
  if (begin === undefined || host === undefined) throw new Error('Nothing was counted.');
  const measuredJobs = (allSteps - begin.steps) / steps;
  return {
    rate: (measuredJobs * 1_000) / (endedAt - begin.at),
    clientCpuUs: (sum(after.map((usage) => usage.cpuUs)) - begin.cpuUs) / measuredJobs,
    serverCpuUs: (serverCpu - begin.serverCpuUs) / measuredJobs,
    peakRssMib: Math.max(...after.map(({ peakRssMib }) => peakRssMib)),
    rssAtFirstMib,
    extraSteps: ran() - allSteps,
    windowMs: endedAt - begin.at,
    idle: host,
  };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
