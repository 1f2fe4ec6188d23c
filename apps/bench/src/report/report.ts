import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TableName, WorkloadName } from '../measured.js';
import { TABLE_NAMES, WORKLOAD_NAMES, WORKLOADS } from '../plan.js';
import type { Results, Run } from '../results.js';
import { barsTable } from './bars.js';
import { chart } from './chart.js';
import { seriesOf } from './series.js';
import { table } from './table.js';

/** Workloads that a picture says more of than a table. */
const DRAWN: readonly WorkloadName[] = ['W1', 'W2', 'W3', 'W4', 'W5', 'W6', 'W7'];

/** The results as a markdown page; with `pictures`, it shows what {@link draw} writes beside it. */
export function report({ run, measured }: Results, { pictures }: { pictures: boolean }): string {
  const bars = barsTable(measured);
  const sections = TABLE_NAMES.flatMap((name) => WORKLOAD_NAMES.map((workload) => section({ run, measured }, name, workload, pictures)));
  return [
    '# Benchmarks',
    `Printed by \`pnpm bench\` on ${run.at.slice(0, 10)}. Read the ratios: all contestants of one table took turns on one machine.${run.quick ? ' **Quick mode: these figures show that it works, and nothing else.**' : ''}`,
    described(run),
    ...(bars === undefined
      ? []
      : ['## Bars, on PostgreSQL', 'Ratios within one repetition: their median, and the smallest and largest.', bars]),
    ...sections.filter((one) => one !== undefined),
  ].join('\n\n');
}

/** One picture for each workload of each database; answers the files. */
export function draw({ run, measured }: Results, folder: string): string[] {
  mkdirSync(folder, { recursive: true });
  const files: string[] = [];
  for (const name of TABLE_NAMES) {
    for (const workload of DRAWN) {
      const series = seriesOf(measured, name, workload);
      if (!series.some(({ values }) => values.size > 0)) continue;
      const title = `${workload} on ${name}: ${WORKLOADS[workload].title}`;
      const file = join(folder, pictureOf(name, workload));
      writeFileSync(file, chart(title, `${run.machine}; median and spread of ${run.repetitions}`, workload, series));
      files.push(file);
    }
  }
  return files;
}

function section({ measured }: Results, name: TableName, workload: WorkloadName, pictures: boolean): string | undefined {
  const series = seriesOf(measured, name, workload);
  if (series.length === 0) return undefined;
  const title = `## ${workload} on ${name}: ${WORKLOADS[workload].title}`;
  const failures = series.flatMap((row) => row.errors.map((error) => `- ${row.name}: ${error}`));
  const picture = pictures && DRAWN.includes(workload) ? [`![${workload} on ${name}](${pictureOf(name, workload)})`] : [];
  return [title, ...picture, table(workload, series), ...(failures.length > 0 ? [`Failed:\n\n${failures.join('\n')}`] : [])].join('\n\n');
}

function described({ machine, versions, databases, repetitions }: Run): string {
  const list = (record: Readonly<Record<string, string>>) => Object.entries(record).map(([name, version]) => `${name} ${version}`);
  return [
    `- ${machine}; servers and clients on the same machine`,
    ...Object.values(databases).map((one) => `- ${one}`),
    `- ${list(versions).join(', ')}`,
    `- median of ${repetitions} interleaved repetitions (smallest–largest)`,
  ].join('\n');
}

function pictureOf(name: TableName, workload: WorkloadName): string {
  return `${name.toLowerCase()}-${workload.toLowerCase()}.svg`;
}
