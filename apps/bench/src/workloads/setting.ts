import { Child } from '../child-process.js';
import { type Databases, hasOrders } from '../databases/databases.js';
import type { Entry } from '../entries.js';
import type { WorkloadName } from '../measured.js';
import type { Task } from '../protocol.js';

/** Longest time for making tables and filling in a backlog. Unit: ms. */
const PREPARE_TIMEOUT_MS = 1_800_000;
/** Longest time for a process to come up. Unit: ms. */
const OPEN_TIMEOUT_MS = 60_000;

/** What one measurement is made of and on. */
export interface Setting {
  readonly entry: Entry;
  readonly workload: WorkloadName;
  readonly databases: Databases;
  /** Backlogs are multiplied by it. */
  readonly scale: number;
  /** Everything once and short: whether it works, not how fast. */
  readonly quick: boolean;
}

/** Empty databases, and the processes that use them. */
export interface Stage {
  readonly task: Task;
  readonly open: (role: 'producer' | 'worker', more?: Partial<Task>) => Promise<Child>;
}

/** Makes the tables and fills in so many jobs. */
export async function setUp(setting: Setting, backlog: { jobs: number; steps: number }, callers = 16): Promise<Stage> {
  const { entry, workload, databases } = setting;
  const database = await databases.open('jobs');
  const orders = workload === 'W7' ? await databases.open('orders') : database;
  const { module, contestant } = entry;
  const task: Task = { role: 'prepare', module, contestant, workload, database, orders, callers, index: 0, ...backlog };
  const hasBacklog = backlog.jobs > 0;
  if (hasBacklog) await databases.relax(database);
  await Child.open(task, PREPARE_TIMEOUT_MS);
  if (hasOrders(workload)) await databases.createOrders(orders);
  // Not without one: nobody analyzes tables that are new and empty, and plans made for them are others.
  if (hasBacklog) await databases.settle(database);
  return { task, open: (role, more = {}) => Child.open({ ...task, role, ...more }, OPEN_TIMEOUT_MS) };
}
