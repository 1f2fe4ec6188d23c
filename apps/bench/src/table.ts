import type { ContestantName } from './contestants.js';
import type { Measurement } from './measurement.js';

/** A markdown table of one workload, with the ratio of the medians and those of the single repetitions. */
export function table(workload: string, { plain, stepping }: Record<ContestantName, readonly Measurement[]>): string {
  const ratios = stepping.map(({ jobsPerSecond }, i) => jobsPerSecond / (plain[i]?.jobsPerSecond ?? Number.NaN));
  return `| ${workload} | jobs/s | client CPU µs/job | server CPU µs/job |
| --- | ---: | ---: | ---: |
| plain loop | ${row(plain)} |
| Stepping | ${row(stepping)} |
| ratio | **${median(ratios).toFixed(2)}** (${Math.min(...ratios).toFixed(2)}–${Math.max(...ratios).toFixed(2)}) | | |
`;
}

function row(measured: readonly Measurement[]): string {
  const rates = measured.map(({ jobsPerSecond }) => jobsPerSecond);
  const server = measured.flatMap(({ serverCpuUs }) => serverCpuUs ?? []);
  const spread = `${whole(median(rates))} (${whole(Math.min(...rates))}–${whole(Math.max(...rates))})`;
  return [spread, whole(median(measured.map(({ clientCpuUs }) => clientCpuUs))), server.length === 0 ? '–' : whole(median(server))].join(
    ' | ',
  );
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

function whole(value: number): string {
  return Math.round(value).toLocaleString('en-US').replaceAll(',', ' ');
}
