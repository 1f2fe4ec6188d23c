// Stepping beside plain code of the drivers, and beside the libraries that one would take instead: `pnpm bench --help`.

import { writeFileSync } from 'node:fs';
import { arch, cpus, release, totalmem, type } from 'node:os';
import { join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import type { Databases } from './databases/databases.js';
import { mariadbDatabases } from './databases/mariadb.js';
import { mongodbDatabases } from './databases/mongodb.js';
import { postgresDatabases } from './databases/postgres.js';
import { redisDatabases } from './databases/redis.js';
import { sqliteDatabases } from './databases/sqlite.js';
import { startTestServices, type TestServices } from './databases/test-services.js';
import type { Entry } from './entries.js';
import type { Measured, TableName, Values, WorkloadName } from './measured.js';
import { preparePeers, versionOfPeer } from './peers.js';
import { entriesOf, type Selection, TABLE_NAMES, WORKLOAD_NAMES, WORKLOADS } from './plan.js';
import { draw, report } from './report/report.js';
import { COLUMNS, figure } from './report/table.js';
import { type Results, ResultsFile, readResults } from './results.js';

const HELP = `pnpm bench [options]

  --databases PostgreSQL,SQLite   of ${TABLE_NAMES.join(', ')}; default all
  --workloads W1,W5               of ${WORKLOAD_NAMES.join(', ')}; default all
  --only stepping,dbos,plain      libraries, or single rows of the tables (dbos:direct; dbos: is dbos alone); default all
  --reps 3                        interleaved repetitions
  --scale 1                       multiplies the backlogs
  --quick                         everything once and short: whether it works, not how fast
  --out FILE                      results, a line of JSON each; default apps/bench/results/<time>.jsonl
  --from FILE                     measure nothing: print and draw these results
  --draw FOLDER                   page and pictures; default docs/benchmarks for all of it, else beside the results`;

const { values: options } = parseArgs({
  options: {
    databases: { type: 'string' },
    workloads: { type: 'string' },
    only: { type: 'string' },
    reps: { type: 'string' },
    scale: { type: 'string', default: '1' },
    quick: { type: 'boolean', default: false },
    out: { type: 'string' },
    from: { type: 'string' },
    draw: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

const root = join(import.meta.dirname, '../../..');
const quick = options.quick;
const repetitions = Number(options.reps ?? (quick ? 1 : 3));
const scale = quick ? 0.02 : Number(options.scale);
const selection: Selection = {
  tables: chosen(options.databases, TABLE_NAMES),
  workloads: chosen(options.workloads, WORKLOAD_NAMES),
  only: options.only?.split(',') ?? [],
};
const isPart = quick || options.databases !== undefined || options.workloads !== undefined || options.only !== undefined;

if (options.help) console.log(HELP);
else if (options.from !== undefined) publish(readResults(options.from), options.from);
else await measureAll();

async function measureAll(): Promise<void> {
  const entries = selection.tables.flatMap((table) => selection.workloads.flatMap((workload) => entriesOf(table, workload, selection)));
  if (entries.length === 0) throw new Error(`Nothing to measure: no row of the tables is called ${options.only} there. See --help.`);
  const peers = [...new Set(entries.flatMap(({ peer }) => peer ?? []))];
  if (peers.length > 0) preparePeers();

  const file = options.out ?? join(root, 'apps/bench/results', `${new Date().toISOString().replaceAll(':', '-')}.jsonl`);
  // Whatever ends the bench, its servers end with it.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
  const services = await startTestServices();
  const opened = new Map<string, Databases>();
  try {
    for (const name of new Set(entries.map(({ table, on }) => on ?? table))) {
      const databases = await openDatabases(services, name);
      if (databases !== undefined) opened.set(name, databases);
    }
    const run = {
      at: new Date().toISOString(),
      machine: `${cpus()[0]?.model.trim()}, ${cpus().length} cores (${arch()}), ${Math.round(totalmem() / 2 ** 30)} GiB, ${type()} ${release()}`,
      versions: { Node: process.version, ...Object.fromEntries(peers.map((name) => [name, versionOfPeer(name)])) },
      databases: Object.fromEntries([...opened].map(([name, { described }]) => [name, described])),
      repetitions,
      quick,
    };
    console.log(`${run.machine}, Node ${process.version}`);
    for (const described of Object.values(run.databases)) console.log(described);
    const results = new ResultsFile(file, run);
    const measured: Measured[] = [];
    for (const table of selection.tables) {
      for (const workload of selection.workloads) {
        for await (const one of interleaved(table, workload, opened)) {
          measured.push(one);
          results.add(one);
          console.log(line(one));
        }
      }
    }
    publish({ run, measured }, file);
  } finally {
    for (const databases of opened.values()) await databases.stop();
    await services.stop();
  }
}

/** Everybody once, then everybody again: what else the machine does meanwhile hits all of them. */
async function* interleaved(table: TableName, workload: WorkloadName, opened: ReadonlyMap<string, Databases>): AsyncGenerator<Measured> {
  const entries = entriesOf(table, workload, selection);
  const { cases, once } = WORKLOADS[workload];
  for (let repetition = 1; repetition <= (once ? 1 : repetitions); repetition++) {
    for (const { name, measure } of cases(quick)) {
      for (const entry of entries) {
        const databases = opened.get(entry.on ?? table);
        if (databases === undefined || (repetition > 1 && isSlowByDesign(entry, workload))) continue;
        const begun = { at: new Date().toISOString(), table, workload, name: entry.name, case: name, repetition };
        try {
          const values = await measure({ entry, workload, databases, scale, quick }, entry.workloads[workload] ?? 0);
          yield { ...begun, values: finite(values) };
        } catch (error) {
          yield { ...begun, values: {}, error: String((error as Error).message ?? error) };
        }
        await databases.dropAll();
      }
    }
  }
}

/** Without what could not be measured: the server's CPU time of a server elsewhere, the rate of a drain that was over before its clock began. */
function finite(values: Values): Values {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => Number.isFinite(value)));
}

/** One long run tells all of who looks once a second. */
function isSlowByDesign({ workloads }: Entry, workload: WorkloadName): boolean {
  return workload === 'W3' && (workloads.W3 ?? 0) < 200;
}

async function openDatabases(services: TestServices, name: string): Promise<Databases | undefined> {
  if (name === 'Redis') return redisDatabases();
  if (name === 'SQLite') return sqliteDatabases();
  const [service, open] = (
    {
      PostgreSQL: ['postgres', postgresDatabases],
      MariaDB: ['mariadb', mariadbDatabases],
      MongoDB: ['mongodb', mongodbDatabases],
    } as const
  )[name as 'PostgreSQL' | 'MariaDB' | 'MongoDB'];
  const server = await services.open(service);
  return server && open(server);
}

/** Prints the tables, and writes page and pictures: of a part, beside its results. */
function publish(results: Results, file: string): void {
  const folder =
    options.draw ?? (isPart || options.from !== undefined ? `${file.replace(/\.jsonl$/, '')}-page` : join(root, 'docs/benchmarks'));
  console.log(`\n${report(results, { pictures: false })}\n`);
  const pictures = draw(results, folder);
  const page = join(folder, 'README.md');
  writeFileSync(page, `${report(results, { pictures: true })}\n`);
  console.log(`Results: ${relative(process.cwd(), file)}\nPage: ${relative(process.cwd(), page)}, with ${pictures.length} pictures`);
}

function line({ table, workload, name, case: itsCase, repetition, values, error }: Measured): string {
  const what = `${table} ${workload} ${name}${itsCase === undefined ? '' : `, ${itsCase}`} #${repetition}:`;
  if (error !== undefined) return `${what} FAILED: ${error}`;
  const shown = COLUMNS[workload].flatMap(({ key, title }) => {
    const value = values[key];
    return value === undefined ? [] : `${title} ${figure(value)}`;
  });
  return `${what} ${shown.join(', ')}`;
}

function chosen<T extends string>(given: string | undefined, all: readonly T[]): readonly T[] {
  if (given === undefined) return all;
  const wanted = given.split(',');
  const unknown = wanted.filter((one) => !all.includes(one as T));
  if (unknown.length > 0) throw new Error(`There is no ${unknown.join(', ')}. See --help.`);
  return all.filter((one) => wanted.includes(one));
}
