// Stepping against plain loops of the driver: `pnpm --filter @stepping/bench bench [--repetitions 3] [--jobs 40000] [--seconds 4] [--only PostgreSQL]`.

import { execFile } from 'node:child_process';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import type { ContestantName, DatabaseKind } from './contestants.js';
import { DATABASES, type Databases } from './databases.js';
import type { Measurement, Task } from './measurement.js';
import { table } from './table.js';

const { values: options } = parseArgs({
  options: {
    repetitions: { type: 'string', default: '3' },
    /** Backlog of a drain. */
    jobs: { type: 'string', default: '40000' },
    /** Length of an enqueue that is measured, after a second of warm-up. */
    seconds: { type: 'string', default: '4' },
    only: { type: 'string' },
  },
});
const repetitions = Number(options.repetitions);
const jobs = Number(options.jobs);
const runMs = Number(options.seconds) * 1_000;

const CONTESTANTS: readonly ContestantName[] = ['plain', 'stepping'];
const WORKLOADS = {
  'three-step jobs drained': (on: On) => drain(on),
  'enqueue, 16 callers': (on: On) => enqueue(on, 16),
  'enqueue, 1 000 callers': (on: On) => enqueue(on, 1_000),
};

interface On {
  readonly kind: DatabaseKind;
  readonly contestant: ContestantName;
  readonly databases: Databases;
  readonly database: string;
}

console.log(`${cpus()[0]?.model}, ${cpus().length} cores, Node ${process.version}`);
const kinds = (Object.keys(DATABASES) as DatabaseKind[]).filter((kind) => options.only === undefined || options.only === kind);
for (const kind of kinds) {
  const databases = await DATABASES[kind]();
  try {
    console.log(`\n${databases.described}; median of ${repetitions} interleaved repetitions (min–max)\n`);
    for (const [workload, measure] of Object.entries(WORKLOADS)) {
      console.log(table(workload, await interleaved(kind, databases, measure)));
    }
  } finally {
    await databases.stop();
  }
}

/** Everybody once, then everybody again: what else the machine does meanwhile hits all of them. */
async function interleaved(
  kind: DatabaseKind,
  databases: Databases,
  measure: (on: On) => Promise<Measurement>,
): Promise<Record<ContestantName, Measurement[]>> {
  const measured: Record<ContestantName, Measurement[]> = { plain: [], stepping: [] };
  for (let repetition = 0; repetition < repetitions; repetition++) {
    for (const contestant of CONTESTANTS) {
      const database = await databases.open('bench');
      await child({ kind, contestant, database, action: 'create' });
      measured[contestant].push(await measure({ kind, contestant, databases, database }));
      await databases.drop('bench');
    }
  }
  return measured;
}

async function drain({ kind, contestant, databases, database }: On): Promise<Measurement> {
  await child({ kind, contestant, database, action: 'fill', jobs });
  await databases.settle(database);
  return JSON.parse(await child({ kind, contestant, database, action: 'drain', jobs }));
}

async function enqueue({ kind, contestant, database }: On, callers: number): Promise<Measurement> {
  return JSON.parse(await child({ kind, contestant, database, action: 'enqueue', callers, warmUpMs: 1_000, runMs }));
}

async function child(task: Task): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [join(import.meta.dirname, 'measure.js'), JSON.stringify(task)]);
  return stdout;
}
