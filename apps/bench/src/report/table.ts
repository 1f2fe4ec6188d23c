import type { WorkloadName } from '../measured.js';
import { median } from '../statistics.js';
import { figures, label, type Series } from './series.js';

/** A figure as a column: the first one has its spread. */
interface Column {
  readonly key: string;
  readonly title: string;
}

const PER_JOB: readonly Column[] = [
  { key: 'clientCpuUs', title: 'client CPU µs/job' },
  { key: 'serverCpuUs', title: 'server CPU µs/job' },
  { key: 'commitsPerJob', title: 'commits/job' },
  { key: 'fsyncsPerJob', title: 'fsyncs/job' },
  { key: 'walBytesPerJob', title: 'WAL B/job' },
  { key: 'peakRssMib', title: 'peak RSS MiB' },
];
const RATE: readonly Column[] = [{ key: 'rate', title: 'jobs/s' }, ...PER_JOB];
const DRAIN: readonly Column[] = [...RATE, { key: 'extraSteps', title: 'steps run twice' }];
const LATENCY: readonly Column[] = [
  { key: 'p50', title: 'p50 ms' },
  { key: 'p95', title: 'p95 ms' },
  { key: 'p99', title: 'p99 ms' },
];

/** The first is what a workload is about. */
export const COLUMNS: Readonly<Record<WorkloadName, readonly Column[]>> = {
  W1: RATE,
  W2: DRAIN,
  W3: LATENCY,
  W4: RATE,
  W5: DRAIN,
  W6: DRAIN,
  W7: RATE,
  claim: [
    { key: 'p50', title: 'p50 ms' },
    { key: 'p99', title: 'p99 ms' },
    { key: 'emptyP50', title: 'empty table: p50 ms' },
    { key: 'emptyP99', title: 'p99 ms' },
    { key: 'p50Ratio', title: 'ratio p50' },
    { key: 'p99Ratio', title: 'ratio p99' },
  ],
  idle: [
    { key: 'statementsPerSecond', title: 'statements/s' },
    { key: 'cpuMsPerSecond', title: 'client CPU ms/s' },
    { key: 'peakRssMib', title: 'peak RSS MiB' },
  ],
  memory: [
    { key: 'peakRssMib', title: 'peak RSS MiB' },
    { key: 'rssAtFirstMib', title: 'after the first 10 000 jobs' },
    { key: 'rate', title: 'jobs/s' },
  ],
  cost: [
    { key: 'statementsPerJob', title: 'statements/job' },
    { key: 'commitsPerJob', title: 'commits/job' },
    { key: 'fsyncsPerJob', title: 'fsyncs/job' },
    { key: 'walBytesPerJob', title: 'WAL B/job' },
  ],
};

/** A markdown table: medians, and the spread of the first figure. Columns that nobody has are left out. */
export function table(workload: WorkloadName, series: readonly Series[]): string {
  const columns = COLUMNS[workload].filter(({ key }, i) => i === 0 || series.some((row) => figures(row, key).length > 0));
  const lines = sorted(workload, series).map((row) => {
    if (row.values.size === 0)
      return `| ${label(row)} | failed: ${row.errors[0]?.replaceAll('|', '/')} |${' |'.repeat(columns.length - 1)}`;
    return `| ${label(row)} | ${columns.map(({ key }, i) => cell(figures(row, key), i === 0 || workload === 'W3' || workload === 'claim')).join(' | ')} |`;
  });
  return [`| | ${columns.map(({ title }) => title).join(' | ')} |`, `| --- |${' ---: |'.repeat(columns.length)}`, ...lines].join('\n');
}

/** Rates from the fastest on; what has cases in their order. */
export function sorted(workload: WorkloadName, series: readonly Series[]): readonly Series[] {
  if (series.some((row) => row.case !== undefined)) return series;
  const [{ key } = { key: '' }] = COLUMNS[workload];
  const sign = key === 'rate' ? -1 : 1;
  return [...series].sort((a, b) => sign * (median(figures(a, key)) - median(figures(b, key))) || 0);
}

function cell(values: readonly number[], spread: boolean): string {
  if (values.length === 0) return '–';
  const middle = figure(median(values));
  return spread && values.length > 1 ? `${middle} (${figure(Math.min(...values))}–${figure(Math.max(...values))})` : middle;
}

export function figure(value: number): string {
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en-US').replaceAll(',', ' ');
  if (value === 0) return '0';
  return Math.abs(value) >= 10 ? value.toFixed(1) : String(Number(value.toPrecision(2)));
}
