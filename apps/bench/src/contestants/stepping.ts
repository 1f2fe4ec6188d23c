import 'reflect-metadata';
import { createStepping, defineStep, type JobBuilder, type Stepping, type SteppingPlugin, unchecked } from '@stepping/core';
import { localTm, type StorePlugin } from '@stepping/tm-local';
import { hostedProcessor } from '@stepping/tm-local-hosted-processor';
import type { Contestant, Order, Payload } from '../contestant.js';

/** Jobs that are started at once to fill a backlog. */
const FILLERS = 2_000;

/** Stepping on one database: with the options that it has by default, whatever the workload. */
export interface SteppingDatabase<Handle> {
  connect(database: string): Promise<Handle>;
  store(jobs: Handle): StorePlugin;
  /** Business transactions of W4 and W7. */
  transactions(orders: Handle): SteppingPlugin;
  /** An order and its job in one transaction. */
  placeOrder(app: Stepping<any>, orders: Handle, order: Order, addSteps: (job: JobBuilder) => void): Promise<unknown>;
  hasUnfinished(jobs: Handle): Promise<boolean>;
  close(handle: Handle): Promise<void>;
}

/** A job of n steps is n - 1 of these and the last. */
export function benchSteps(onStep: (args: Payload) => void) {
  const run = ({ args }: { args: Payload }) => onStep(args);
  const step = defineStep({ name: 'step', args: unchecked<Payload>(), run });
  const last = defineStep({ name: 'last', args: unchecked<Payload>(), run });
  return { step, last };
}

/** A service of many kinds of steps, in several queues: nobody starts them. */
function otherSteps({ kinds, queues }: { kinds: number; queues: number }) {
  return Array.from({ length: kinds }, (_, i) => defineStep({ name: `other-${i}`, queue: `queue-${i % queues}`, run: () => {} }));
}

export function stepping<Handle>(
  on: SteppingDatabase<Handle>,
  { unfinishedSql, others = { kinds: 0, queues: 1 } }: { unfinishedSql?: string; others?: Parameters<typeof otherSteps>[0] } = {},
): Contestant {
  return {
    ...(unfinishedSql !== undefined && { unfinishedSql }),
    async create(database) {
      const jobs = await on.connect(database);
      const app = createStepping({ steps: Object.values(benchSteps(() => {})), tm: localTm({ store: on.store(jobs), processor: false }) });
      await app.start();
      await app.stop();
      await on.close(jobs);
    },
    async openProducer(database, { orders: ordersDatabase }) {
      const jobs = await on.connect(database);
      const orders = ordersDatabase === database ? jobs : await on.connect(ordersDatabase);
      const { step, last } = benchSteps(() => {});
      const app = createStepping({
        steps: [step, last],
        tm: localTm({ store: on.store(jobs), processor: false }),
        use: [on.transactions(orders)],
      });
      await app.start();
      const enqueue = async (steps: number, args: Payload) => {
        const job = app.createJob();
        for (let i = 1; i < steps; i++) job.addStep(step, args);
        await job.addStep(last, args).start();
      };
      return {
        enqueue: (args) => enqueue(1, args),
        async fill(steps, payloads) {
          let next = 0;
          const loop = async () => {
            while (next < payloads.length) await enqueue(steps, payloads[next++] as Payload);
          };
          await Promise.all(Array.from({ length: FILLERS }, loop));
        },
        placeOrder: (order, args) => on.placeOrder(app, orders, order, (job) => job.addStep(last, args)),
        async close() {
          await app.stop();
          await on.close(jobs);
          if (orders !== jobs) await on.close(orders);
        },
      };
    },
    async openWorker(database, { onStep }) {
      const jobs = await on.connect(database);
      const steps = [...Object.values(benchSteps(onStep)), ...otherSteps(others)];
      const app = createStepping({ steps, tm: localTm({ store: on.store(jobs), processor: hostedProcessor() }) });
      return {
        start: () => app.start(),
        hasUnfinished: () => on.hasUnfinished(jobs),
        async close() {
          await app.stop();
          await on.close(jobs);
        },
      };
    },
  };
}
