import { MongoBackend } from '@agendajs/mongo-backend';
import { Agenda, type Job } from 'agenda';
import { MongoClient } from 'mongodb';
import type { Contestant, Payload } from '../../src/contestant.js';
import { atOnce } from './parts.js';

type StepPayload = Payload & { readonly step?: number };

/** How often it looks, and how many jobs it runs and locks at once. */
const TUNED = { processEvery: 100, maxConcurrency: 100, defaultConcurrency: 100, defaultLockLimit: 100 };

/** The handler of one step starts the next. */
const agenda: Contestant = {
  async create(address) {
    const opened = await open(address);
    await opened.stop();
  },
  async openProducer(address) {
    const opened = await open(address);
    return {
      enqueue: (args) => opened.now('only', args),
      fill: (steps, payloads) => atOnce(32, payloads, (args) => opened.now(steps === 1 ? 'only' : 'step', { ...args, step: 1 })),
      close: () => opened.stop(),
    };
  },
  async openWorker(address, { onStep }) {
    const opened = await open(address);
    const look = await new MongoClient(address).connect();
    opened.define('only', async ({ attrs }: Job<StepPayload>) => onStep(attrs.data));
    opened.define('step', async ({ attrs }: Job<StepPayload>) => {
      onStep(attrs.data);
      const step = attrs.data.step ?? 3;
      if (step < 3) await opened.now('step', { ...attrs.data, step: step + 1 });
    });
    return {
      start: () => opened.start(),
      // A job that has run keeps its document, without a next run and without a lock.
      hasUnfinished: async () =>
        (await look
          .db()
          .collection('agendaJobs')
          .findOne({ $or: [{ nextRunAt: { $ne: null } }, { lockedAt: { $ne: null } }] })) !== null,
      async close() {
        await opened.stop();
        await look.close();
      },
    };
  },
};

async function open(address: string): Promise<Agenda> {
  const opened = new Agenda({ backend: new MongoBackend({ address }), ...TUNED });
  await opened.ready;
  return opened;
}

export const contestants = { tuned: agenda };
