import type { Measured, Values, WorkloadName } from '../measured.js';
import { median } from '../statistics.js';
import { type Series, seriesOf } from './series.js';

/** What we want of Stepping on PostgreSQL, as ratios within one repetition. */
interface Bar {
  readonly workload: WorkloadName;
  readonly what: string;
  readonly of: Figure;
  /** Undefined: the figure itself counts. */
  readonly to: Figure | undefined;
  /** The difference, not the ratio. */
  readonly difference?: true;
  /** Which way is better. */
  readonly wants: 'more' | 'less';
  readonly must?: number;
  readonly aim?: number;
}

interface Figure {
  readonly name: string;
  readonly key: string;
  readonly workload?: WorkloadName;
  readonly case?: string;
}

const stepping = (key: string, more: Partial<Figure> = {}): Figure => ({ name: 'stepping', key, ...more });
const rateOf = (name: string): Figure => ({ name, key: 'rate' });

const BARS: readonly Bar[] = [
  { workload: 'W5', what: 'three-step jobs to DBOS', of: stepping('rate'), to: rateOf('dbos'), wants: 'more', must: 40 },
  ...['pg-boss', 'pg-boss:nontx', 'bullmq', 'bullmq:chain', 'bullmq:always', 'graphile-worker', 'dbos:direct', 'bullmq:postgres'].map(
    (name): Bar => ({ workload: 'W5', what: `three-step jobs to ${name}`, of: stepping('rate'), to: rateOf(name), wants: 'more', must: 1 }),
  ),
  {
    workload: 'W5',
    what: 'three-step jobs to the coalesced ceiling',
    of: stepping('rate'),
    to: rateOf('plain:coalesced'),
    wants: 'more',
    must: 0.4,
    aim: 0.6,
  },
  {
    workload: 'W2',
    what: 'one-step jobs to graphile-worker',
    of: stepping('rate'),
    to: rateOf('graphile-worker'),
    wants: 'more',
    must: 0.8,
    aim: 1,
  },
  ...['2 processes', '4 processes'].map(
    (processes): Bar => ({
      workload: 'W6',
      what: `${processes} to one`,
      of: stepping('rate', { case: processes }),
      to: stepping('rate', { workload: 'W2' }),
      wants: 'more',
      must: 1,
    }),
  ),
  ...['2 processes', '4 processes'].map(
    (processes): Bar => ({
      workload: 'W6',
      what: `${processes} to graphile-worker's`,
      of: stepping('rate', { case: processes }),
      to: { name: 'graphile-worker', key: 'rate', case: processes },
      wants: 'more',
      aim: 1,
    }),
  ),
  { workload: 'W1', what: 'enqueue to pg-boss', of: stepping('rate'), to: rateOf('pg-boss'), wants: 'more', must: 5 },
  { workload: 'W1', what: 'enqueue to grouped plain pg', of: stepping('rate'), to: rateOf('plain:grouped'), wants: 'more', aim: 0.8 },
  {
    workload: 'W4',
    what: "enqueue in the caller's transaction to DBOS",
    of: stepping('rate'),
    to: rateOf('dbos'),
    wants: 'more',
    must: 1.8,
  },
  {
    workload: 'W4',
    what: "enqueue in the caller's transaction to plain pg",
    of: stepping('rate'),
    to: rateOf('plain:single'),
    wants: 'more',
    aim: 0.9,
  },
  {
    workload: 'W4',
    what: 'the same to TypeORM alone',
    of: stepping('rate'),
    to: rateOf('plain:typeorm'),
    wants: 'more',
  },
  ...['p50', 'p99'].flatMap((key): Bar[] => [
    { workload: 'W3', what: `${key} to graphile-worker`, of: stepping(key), to: { name: 'graphile-worker', key }, wants: 'less', must: 1 },
    { workload: 'W3', what: `${key} to BullMQ on Redis`, of: stepping(key), to: { name: 'bullmq', key }, wants: 'less', aim: 1 },
  ]),
  {
    workload: 'W7',
    what: 'a bare business transaction to a two-database start',
    of: rateOf('plain:bare'),
    to: stepping('rate'),
    wants: 'less',
    must: 2.5,
  },
  {
    workload: 'W7',
    what: 'one that writes the same rows to a two-database start',
    of: rateOf('plain:rows'),
    to: stepping('rate'),
    wants: 'less',
    aim: 1.7,
  },
  {
    workload: 'W7',
    what: "TypeORM's business transaction to a two-database start",
    of: rateOf('plain:typeorm'),
    to: stepping('rate'),
    wants: 'less',
  },
  ...['1 000 000 finished', '1 000 000 due in another queue', 'old snapshot'].flatMap((name): Bar[] => [
    claimBar(name, 'p50', { must: 1.3 }),
    claimBar(name, 'p99', { aim: 1.3 }),
  ]),
  ...['stepping', 'stepping:kinds'].map(
    (name): Bar => ({
      workload: 'idle',
      what: `statements/s of ${name}`,
      of: { name, key: 'statementsPerSecond' },
      to: undefined,
      wants: 'less',
      must: 1,
      aim: 0.25,
    }),
  ),
  memoryBar('1 000 000 jobs at once less 10 000 at a time, MiB', 'peakRssMib', '1 000 000 jobs, 10 000 at a time', 50),
  memoryBar('1 000 000 jobs less 10 000, both when 10 000 have run, MiB', 'rssAtFirstMib', '10 000 jobs', 50),
  memoryBar('1 000 000 jobs less 10 000, when all have run, MiB', 'peakRssMib', '10 000 jobs'),
];

function claimBar(name: string, key: 'p50' | 'p99', wanted: Pick<Bar, 'must' | 'aim'>): Bar {
  return {
    workload: 'claim',
    what: `${name} to an empty table, ${key}`,
    of: stepping(`${key}Ratio`, { case: name }),
    to: undefined,
    wants: 'less',
    ...wanted,
  };
}

function memoryBar(what: string, key: string, less: string, must?: number): Bar {
  const [of, to] = [stepping(key, { case: '1 000 000 jobs' }), stepping(key, { case: less })];
  return { workload: 'memory', what, of, to, difference: true, wants: 'less', ...(must !== undefined && { must }) };
}

/** A markdown table of the bars that were measured. Undefined: none. */
export function barsTable(measured: readonly Measured[]): string | undefined {
  const rows = BARS.flatMap((bar) => {
    const ratios = ratiosOf(bar, measured);
    return ratios.length === 0 ? [] : [row(bar, ratios)];
  });
  if (rows.length === 0) return undefined;
  return ['| | | measured | must | aim | |', '| --- | --- | ---: | ---: | ---: | --- |', ...rows].join('\n');
}

function row(bar: Bar, ratios: readonly number[]): string {
  const { workload, what, wants, must, aim } = bar;
  const middle = median(ratios);
  const bound = (value: number | undefined) => (value === undefined ? '' : `${wants === 'more' ? '≥' : '≤'} ${value}`);
  const spread = ratios.length > 1 ? ` (${short(Math.min(...ratios))}–${short(Math.max(...ratios))})` : '';
  return `| ${workload} | ${what} | ${short(middle)}${spread} | ${bound(must)} | ${bound(aim)} | ${verdict(middle, bar)} |`;
}

function verdict(measured: number, { wants, must, aim }: Bar): string {
  const holds = (bound: number | undefined) => bound === undefined || (wants === 'more' ? measured >= bound : measured <= bound);
  if (must === undefined && aim === undefined) return '';
  if (!holds(must)) return '**missed**';
  if (holds(aim)) return 'holds';
  return must === undefined ? 'aim missed' : 'holds, aim missed';
}

/** Of one repetition each; where one side was measured once, with that. */
function ratiosOf({ workload, of, to, difference }: Bar, measured: readonly Measured[]): number[] {
  const above = find(measured, workload, of);
  if (above === undefined) return [];
  if (to === undefined) return [...above.values.values()].flatMap((values) => values[of.key] ?? []);
  const below = find(measured, workload, to);
  if (below === undefined) return [];
  const repetitions = [...new Set([...above.values.keys(), ...below.values.keys()])];
  const ratios = repetitions.flatMap((repetition) => {
    const [a, b] = [pick(above, repetition)?.[of.key], pick(below, repetition)?.[to.key]];
    return a === undefined || b === undefined ? [] : [difference ? a - b : a / b];
  });
  return ratios.filter(Number.isFinite);
}

function find(measured: readonly Measured[], workload: WorkloadName, figure: Figure): Series | undefined {
  return seriesOf(measured, 'PostgreSQL', figure.workload ?? workload).find(
    (series) => series.name === figure.name && series.case === figure.case && series.values.size > 0,
  );
}

function pick(series: Series, repetition: number): Values | undefined {
  return series.values.get(repetition) ?? (series.values.size === 1 ? [...series.values.values()][0] : undefined);
}

function short(value: number): string {
  return Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(2);
}
