import type { Values } from '../measured.js';
import { type Setting, setUp } from './setting.js';

const TIMEOUT_MS = 60_000;

/** A process that runs so many jobs, which come in pieces, each when the one before is done: as old in the end as one that had them all before it, without their backlog. */
export async function pieces(setting: Setting, { jobs, together }: { jobs: number; together: number }): Promise<Values> {
  const { open } = await setUp(setting, { jobs: 0, steps: 1 });
  const worker = await open('worker', { jobs });
  const producer = await open('producer');
  try {
    await worker.ask({ type: 'start' }, 'started', TIMEOUT_MS);
    for (let firstId = 0; firstId < jobs; firstId += together) {
      await producer.ask({ type: 'enqueue', firstId, count: together }, 'enqueued', TIMEOUT_MS);
      await worker.ask({ type: 'watch' }, 'stored', TIMEOUT_MS);
    }
    const { peakRssMib } = await worker.ask({ type: 'usage' }, 'usage', TIMEOUT_MS);
    return { jobs, peakRssMib };
  } finally {
    await Promise.all([worker.end(), producer.end()]);
  }
}
