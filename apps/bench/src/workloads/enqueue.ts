import type { Values } from '../measured.js';
import { perJob } from '../per-job.js';
import { hostTime, idleShare, serverCpuUs } from '../server-cpu.js';
import { type Setting, setUp } from './setting.js';

/** At a few thousand calls a second V8 has not compiled what they run, of whatever library, before some seconds are over; a service runs for days. Unit: ms. */
const LENGTH = { warmUpMs: 5_000, runMs: 5_000 };
const QUICK = { warmUpMs: 200, runMs: 600 };
/** Beyond the run. Unit: ms. */
const GRACE_MS = 60_000;

/** W1, W4, W7: so many callers for so long, each waiting until its own job is durable before it starts the next. */
export async function enqueue(setting: Setting, callers: number): Promise<Values> {
  const { databases, quick } = setting;
  const { task, open } = await setUp(setting, { jobs: 0, steps: 1 }, callers);
  const counted = task.orders === task.database ? await perJob(databases, task.database) : undefined;
  const producer = await open('producer');
  try {
    const length = quick ? QUICK : LENGTH;
    const ending = producer.next('ended', length.warmUpMs + length.runMs + GRACE_MS);
    ending.catch(() => {}); // seen below
    const began = await producer.ask({ type: 'run', ...length }, 'began', GRACE_MS);
    const [serverCpu, host] = [serverCpuUs(databases.serverPid), hostTime()];
    const { jobs, allJobs, elapsedMs, cpuUs, peakRssMib } = await ending;
    const values = {
      rate: (jobs * 1_000) / elapsedMs,
      clientCpuUs: (cpuUs - began.cpuUs) / jobs,
      serverCpuUs: (serverCpuUs(databases.serverPid) - serverCpu) / jobs,
      peakRssMib,
      idle: idleShare(host),
    };
    await producer.end();
    return { ...values, ...(await counted?.(allJobs)) };
  } finally {
    await producer.end();
  }
}
