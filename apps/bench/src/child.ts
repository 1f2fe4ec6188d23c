// A worker or a producer, in a process of its own: `node child.js TASK`, where TASK is JSON. Talks to its parent over IPC.

import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { type Contestant, type Payload, type Producer, payload } from './contestant.js';
import { order, plainTransactions } from './orders.js';
import { monotonicMs, type Order, type Report, type Task, type Usage } from './protocol.js';

/** Between two reports of what was run. Unit: ms. */
const COUNT_MS = 10;
/** Between two looks whether all is stored. Unit: ms. */
const WATCH_MS = 2;

const task: Task = JSON.parse(process.argv[2] ?? '');
const { contestants } = (await import(task.module)) as { contestants: Readonly<Record<string, Contestant>> };
const contestant = contestants[task.contestant] as Contestant;

process.on('disconnect', () => process.exit());
await { prepare, producer, worker }[task.role]();

/** Tables and backlog. */
async function prepare(): Promise<void> {
  await contestant.create(task.database, { workload: task.workload });
  if (task.jobs > 0) {
    const opened = await openProducer();
    await opened.fill?.(
      task.steps,
      Array.from({ length: task.jobs }, (_, id) => payload(id)),
    );
    await opened.close();
  }
  process.send?.({ type: 'ready' } satisfies Report, () => process.exit()); // whatever a library leaves open
}

async function producer(): Promise<void> {
  const opened = await openProducer();
  const { start, close } = starter(opened);
  onOrder(async (asked) => {
    switch (asked.type) {
      case 'enqueue': {
        const ids = Array.from({ length: asked.count }, (_, i) => asked.firstId + i);
        tell({ type: 'sent', at: monotonicMs() });
        if (task.steps > 1) await opened.fill?.(task.steps, ids.map(payload));
        else await Promise.all(ids.map(start));
        tell({ type: 'enqueued' });
        return;
      }
      case 'run':
        await run(start, asked);
        return;
      case 'usage':
        tell({ type: 'usage', ...usage() });
        return;
      case 'stop':
        await close();
        await opened.close();
    }
  });
  tell({ type: 'ready' });
}

/** From loops, each awaiting its own job. */
async function run(start: (id: number) => Promise<unknown>, { warmUpMs, runMs }: { warmUpMs: number; runMs: number }): Promise<void> {
  let started = 0;
  const loopsFor = async (ms: number) => {
    const endsAt = monotonicMs() + ms;
    const loop = async () => {
      while (monotonicMs() < endsAt) await start(started++);
    };
    await Promise.all(Array.from({ length: task.callers }, loop));
  };
  await loopsFor(warmUpMs);
  const warmUpJobs = started;
  tell({ type: 'began', ...usage() });
  const beganAt = monotonicMs();
  await loopsFor(runMs);
  tell({ type: 'ended', jobs: started - warmUpJobs, allJobs: started, elapsedMs: monotonicMs() - beganAt, ...usage() });
}

/** How this workload starts one job. */
function starter(opened: Producer): { start: (id: number) => Promise<unknown>; close: () => Promise<unknown> } {
  const { enqueue, enqueueIn, placeOrder } = opened;
  const nothing = async () => {};
  if (task.workload !== 'W4' && task.workload !== 'W7') {
    if (enqueue === undefined) throw new Error(`${task.contestant} of ${task.module} cannot enqueue.`);
    return { start: (id) => enqueue(payload(id)), close: nothing };
  }
  if (placeOrder !== undefined) return { start: (id) => placeOrder(order(id), payload(id)), close: nothing };
  if (enqueueIn === undefined) throw new Error(`${task.contestant} of ${task.module} cannot enqueue in a transaction.`);
  const plain = plainTransactions(task.orders, task.callers, enqueueIn);
  return { start: (id) => plain.placeOrder(order(id), payload(id)), close: plain.close };
}

function openProducer(): Promise<Producer> {
  return contestant.openProducer(task.database, { workload: task.workload, callers: task.callers, orders: task.orders });
}

async function worker(): Promise<void> {
  if (contestant.openWorker === undefined) throw new Error(`${task.contestant} of ${task.module} has no worker.`);
  let steps = 0;
  let told = 0;
  const count = () => {
    steps++;
  };
  const tellRan = ({ id }: Payload) => {
    steps++;
    tell({ type: 'ran', id, at: monotonicMs() });
  };
  const { workload, index, jobs } = task;
  const opened = await contestant.openWorker(task.database, { workload, index, jobs, onStep: workload === 'W3' ? tellRan : count });
  const look = contestant.unfinishedSql === undefined ? undefined : await lookBySql(task.database, contestant.unfinishedSql);
  const hasUnfinished = look?.hasUnfinished ?? opened.hasUnfinished;
  const counting = setInterval(() => {
    if (steps === told) return;
    told = steps;
    tell({ type: 'count', steps, at: monotonicMs(), ...usage() });
  }, COUNT_MS);

  onOrder(async ({ type }) => {
    switch (type) {
      case 'start':
        await opened.start();
        tell({ type: 'started' });
        return;
      case 'watch': {
        let looks = 1;
        for (; await hasUnfinished?.(); looks++) await sleep(WATCH_MS);
        tell({ type: 'stored', at: monotonicMs(), looks });
        return;
      }
      case 'usage':
        tell({ type: 'usage', ...usage() });
        return;
      case 'stop':
        clearInterval(counting);
        await look?.close();
        await opened.close();
    }
  });
  tell({ type: 'ready' });
}

async function lookBySql(connectionString: string, text: string) {
  const client = new pg.Client({ connectionString });
  await client.connect();
  return {
    hasUnfinished: async (): Promise<boolean> => (await client.query({ name: 'unfinished', text })).rows[0].unfinished,
    close: () => client.end(),
  };
}

/** One after another they would wait for each other; what fails ends the process, and the parent says so. */
function onOrder(obey: (asked: Order) => Promise<void>): void {
  process.on('message', (asked: Order) => {
    obey(asked)
      .then(() => {
        if (asked.type === 'stop') process.exit();
      })
      .catch((error) => {
        console.error(error);
        process.exit(1);
      });
  });
}

function tell(report: Report): void {
  if (process.connected) process.send?.(report);
}

function usage(): Usage {
  const { user, system } = process.cpuUsage();
  return { cpuUs: user + system, peakRssMib: process.resourceUsage().maxRSS / 1_024 };
}
