import { appendFileSync, existsSync, readFileSync } from 'node:fs';

/** What a step, or a process, leaves behind, whatever becomes of it: a line of a file that all processes of a test write to. */
export interface TraceLine {
  readonly what: 'begins' | 'ends' | 'fails' | 'lease-lost' | 'unrunnable';
  readonly node: string;
  readonly gid: string;
  /** Position of the step in its job, from 0. */
  readonly index: number;
  readonly step: string;
  readonly attempt: number;
  readonly error?: string;
  /** Of the clock of the machine, also where that of the process was set wrong. Unit: ms. */
  readonly at: number;
}

export function leave(file: string, line: Omit<TraceLine, 'at'>): void {
  appendFileSync(file, `\n${JSON.stringify({ ...line, at: now() })}\n`);
}

/** In the order in which it was written. */
export function readTrace(file: string): TraceLine[] {
  if (!existsSync(file)) return [];
  return readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line.endsWith('}')) // who was killed in the middle of one has not left it
    .map((line) => JSON.parse(line));
}

/** Unit: ms since 1970. */
export function now(): number {
  return performance.timeOrigin + performance.now();
}
