import { setTimeout as sleep } from 'node:timers/promises';
import type { Values } from '../measured.js';
import { hostTime, idleShare } from '../server-cpu.js';
import { percentile } from '../statistics.js';
import { type Setting, setUp } from './setting.js';

/** For a worker to fall idle. Unit: ms. */
const IDLE_MS = 1_500;
const WARM_UP_JOBS = 10;
/** Between two jobs: random, against the phase of pollers. Longer for those that poll slowly. Unit: ms. */
const GAP_MS = 15;
const SLOW_GAP_MS = 1_000;
/** Fewer jobs than this are for those that poll slowly. */
const MANY_JOBS = 200;
const TIMEOUT_MS = 60_000;

/** W3: an idle system; one job is started here, and runs in another process. From just before the call until its handler begins. */
export async function latency(setting: Setting, jobs: number): Promise<Values> {
  const { open } = await setUp(setting, { jobs: 0, steps: 1 }, 2);
  const worker = await open('worker', { jobs: 0 });
  const producer = await open('producer');
  const gapMs = jobs >= MANY_JOBS || setting.quick ? GAP_MS : SLOW_GAP_MS;
  try {
    await worker.ask({ type: 'start' }, 'started', TIMEOUT_MS);
    await sleep(IDLE_MS);
    const host = hostTime();
    const latencies: number[] = [];
    for (let id = -WARM_UP_JOBS; id < jobs; id++) {
      const running = worker.next('ran', TIMEOUT_MS);
      const enqueued = producer.next('enqueued', TIMEOUT_MS);
      const [{ at: sentAt }, { at: ranAt }] = await Promise.all([
        producer.ask({ type: 'enqueue', firstId: id, count: 1 }, 'sent', TIMEOUT_MS),
        running,
        enqueued,
      ]);
      if (id >= 0) latencies.push(ranAt - sentAt);
      await sleep(5 + Math.random() * gapMs);
    }
    latencies.sort((a, b) => a - b);
    return { jobs, p50: percentile(latencies, 50), p95: percentile(latencies, 95), p99: percentile(latencies, 99), idle: idleShare(host) };
  } finally {
    await Promise.all([worker.end(), producer.end()]);
  }
}
