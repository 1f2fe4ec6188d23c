import { setTimeout as sleep } from 'node:timers/promises';
import type { Values } from '../measured.js';
import { countStatements } from '../statement-counter.js';
import { type Setting, setUp } from './setting.js';

/** To settle after the start, and to count for. Unit: ms. */
const SETTLE_MS = 8_000;
const COUNT_MS = 30_000;
const QUICK_MS = 1_000;
const TIMEOUT_MS = 60_000;

/** What a process that has nothing to do asks of the database. */
export async function idle(setting: Setting): Promise<Values> {
  const { task, open } = await setUp(setting, { jobs: 0, steps: 1 });
  const counter = await countStatements(task.database);
  if (counter === undefined) throw new Error('Statements to this database cannot be counted.');
  try {
    const worker = await open('worker', { database: counter.database });
    try {
      await worker.ask({ type: 'start' }, 'started', TIMEOUT_MS);
      await sleep(setting.quick ? QUICK_MS : SETTLE_MS);
      const before = counter.statements();
      const began = await worker.ask({ type: 'usage' }, 'usage', TIMEOUT_MS);
      const at = performance.now();
      await sleep(setting.quick ? QUICK_MS : COUNT_MS);
      const seconds = (performance.now() - at) / 1_000;
      const statements = counter.statements() - before;
      const ended = await worker.ask({ type: 'usage' }, 'usage', TIMEOUT_MS);
      return {
        statementsPerSecond: statements / seconds,
        cpuMsPerSecond: (ended.cpuUs - began.cpuUs) / 1_000 / seconds,
        peakRssMib: ended.peakRssMib,
      };
    } finally {
      await worker.end();
    }
  } finally {
    await counter.stop();
  }
}
