import type { TableName, WorkloadName } from './measured.js';

/** One row of the tables: a library, or plain code of the driver, with the settings that its module has for each workload. */
export interface Entry {
  /** As printed, and as `--only` takes it. */
  readonly name: string;
  readonly table: TableName;
  /** Where its jobs are, if that is not the table's own database. */
  readonly on?: 'Redis';
  /** Relative to this file's compiled form; its `contestants[contestant]`. */
  readonly module: string;
  readonly contestant: string;
  /** Whose version is printed; undefined: Stepping itself, or the driver of the workspace. */
  readonly peer?: string;
  /** The workloads that it takes part in; for a drain the size of its backlog, so that it takes five to twenty seconds. Others: 1. */
  readonly workloads: Partial<Record<WorkloadName, number>>;
}

const steppingTypeorm = './contestants/stepping-typeorm.js';
const steppingMongoose = './contestants/stepping-mongoose.js';
const peer = (file: string) => `../peers/dist/${file}.js`;

export const ENTRIES: readonly Entry[] = [
  // PostgreSQL, beside it Redis.
  ...plain('PostgreSQL', './contestants/plain-postgres.js', {
    single: { W1: 1, W4: 1 },
    grouped: { W1: 1 },
    cte: { W4: 1 },
    taken: { W2: 600_000 },
    claimed: { W2: 400_000, W6: 200_000 },
    coalesced: { W5: 300_000 },
    kept: { W5: 200_000, W2: 400_000 },
    batched: { W5: 200_000 },
    stepcommit: { W5: 12_000 },
    bare: { W7: 1 },
    rows: { W7: 1 },
  }),
  {
    name: 'plain:typeorm',
    table: 'PostgreSQL',
    module: './contestants/plain-typeorm.js',
    contestant: 'postgres',
    workloads: { W4: 1, W7: 1 },
  },
  {
    name: 'stepping',
    table: 'PostgreSQL',
    module: steppingTypeorm,
    contestant: 'postgres',
    workloads: { W1: 1, W2: 200_000, W3: 300, W4: 1, W5: 150_000, W6: 200_000, W7: 1, claim: 1, idle: 1, memory: 1, cost: 1 },
  },
  { name: 'stepping:kinds', table: 'PostgreSQL', module: steppingTypeorm, contestant: 'postgres:kinds', workloads: { idle: 1 } },
  { name: 'stepping:held', table: 'PostgreSQL', module: steppingTypeorm, contestant: 'postgres:held', workloads: { W4: 1, W7: 1 } },
  ...peers('PostgreSQL', 'graphile-worker', 'graphile-worker', {
    tuned: { W1: 1, W2: 200_000, W3: 300, W4: 1, W5: 3_500, W6: 200_000, idle: 1 },
    default: { W2: 12_000, W5: 2_500 },
  }),
  ...peers('PostgreSQL', 'pg-boss', 'pg-boss', {
    tuned: { W1: 1, W2: 200_000, W3: 300, W4: 1, W5: 40_000, W6: 200_000, idle: 1 },
    nontx: { W5: 40_000 },
    poll: { W3: 40 },
  }),
  ...peers('PostgreSQL', 'dbos', '@dbos-inc/dbos-sdk', {
    tuned: { W1: 1, W2: 4_000, W4: 1, W5: 1_500, W6: 4_000 },
    default: { W3: 60, idle: 1 },
    fastpoll: { W3: 300 },
    direct: { W5: 1_000 },
  }),
  ...peers('PostgreSQL', 'bullmq', 'bullmq', { postgres: { W1: 1, W2: 5_000, W3: 300, W5: 2_500, W6: 5_000, idle: 1 } }),
  ...peers('PostgreSQL', 'bullmq', 'bullmq', {
    redis: { W1: 1, W2: 80_000, W3: 300, W5: 50_000, W6: 80_000 },
    chain: { W5: 20_000 },
    always: { W1: 1, W5: 30_000 },
  }).map((entry): Entry => ({ ...entry, on: 'Redis' })),

  ...plain('MariaDB', './contestants/plain-mariadb.js', {
    kept: { W1: 1, W2: 60_000, W4: 1, W5: 40_000 },
    bare: { W7: 1 },
    rows: { W7: 1 },
  }),
  ours('MariaDB', steppingTypeorm, 'mariadb', { W1: 1, W2: 60_000, W3: 60, W4: 1, W5: 40_000, W6: 60_000, W7: 1, idle: 1 }),

  ...plain('SQLite', './contestants/plain-sqlite.js', {
    kept: { W1: 1, W2: 100_000, W4: 1, W5: 60_000 },
    bare: { W7: 1 },
    rows: { W7: 1 },
  }),
  ours('SQLite', steppingTypeorm, 'sqlite', { W1: 1, W2: 100_000, W3: 60, W4: 1, W5: 60_000, W6: 100_000, W7: 1 }),

  ...plain('MongoDB', './contestants/plain-mongodb.js', { kept: { W1: 1, W2: 6_000, W4: 1, W5: 4_000 }, bare: { W7: 1 }, rows: { W7: 1 } }),
  ours('MongoDB', steppingMongoose, 'mongodb', { W1: 1, W2: 6_000, W3: 200, W4: 1, W5: 4_000, W6: 6_000, W7: 1, idle: 1 }),
  ...peers('MongoDB', 'agenda', 'agenda', { tuned: { W1: 1, W2: 300, W3: 100, W5: 100, W6: 300, idle: 1 } }),
];

/** `dbos` names all rows of a library, `dbos:direct` that one, `dbos:` the one without more to its name. */
export function isSelected({ name }: Entry, only: readonly string[]): boolean {
  return only.length === 0 || only.some((wanted) => [name, `${name}:`, name.split(':', 1)[0]].includes(wanted));
}

function ours(table: TableName, module: string, contestant: string, workloads: Entry['workloads']): Entry {
  return { name: 'stepping', table, module, contestant, workloads };
}

function plain(table: TableName, module: string, contestants: Readonly<Record<string, Entry['workloads']>>): Entry[] {
  return Object.entries(contestants).map(([contestant, workloads]) => ({
    name: `plain:${contestant}`,
    table,
    module,
    contestant,
    workloads,
  }));
}

/** The first is the library by its mere name. */
function peers(table: TableName, name: string, packageName: string, contestants: Readonly<Record<string, Entry['workloads']>>): Entry[] {
  return Object.entries(contestants).map(([contestant, workloads], i) => ({
    name: i === 0 && contestant !== 'postgres' ? name : `${name}:${contestant}`,
    table,
    module: peer(name),
    contestant,
    peer: packageName,
    workloads,
  }));
}
