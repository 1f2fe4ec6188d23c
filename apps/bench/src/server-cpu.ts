import { readdirSync, readFileSync } from 'node:fs';

/** Linux counts in hundredths of a second. Unit: µs. */
const TICK_US = 10_000;

/** CPU time that a server on this host has used so far, with its children and those it has reaped; NaN where /proc does not tell. Unit: µs. */
export function serverCpuUs(pid: number | undefined): number {
  const root = pid === undefined ? undefined : statOf(String(pid));
  if (root === undefined) return Number.NaN;
  let ticks = root.own + root.ofReaped;
  for (const other of readdirSync('/proc')) {
    const child = /^\d+$/.test(other) ? statOf(other) : undefined;
    if (child !== undefined && child.parent === pid) ticks += child.own;
  }
  return ticks * TICK_US;
}

/** A PostgreSQL server is the parent of its backends. Undefined where it is not on this host. */
export function parentOf(pid: number): number | undefined {
  return statOf(String(pid))?.parent;
}

/** Part of the machine's time that nobody used, since `before`. */
export function idleShare(before: HostTime): number {
  const after = hostTime();
  return (after.idle - before.idle) / (after.total - before.total);
}

export interface HostTime {
  readonly total: number;
  readonly idle: number;
}

export function hostTime(): HostTime {
  try {
    const [line = ''] = readFileSync('/proc/stat', 'utf8').split('\n');
    const fields = line.trim().split(/\s+/).slice(1, 9).map(Number);
    return { total: fields.reduce((sum, field) => sum + field, 0), idle: (fields[3] ?? 0) + (fields[4] ?? 0) };
  } catch {
    return { total: Number.NaN, idle: Number.NaN };
  }
}

function statOf(pid: string): { parent: number; own: number; ofReaped: number } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const field = (i: number) => Number(fields[i]);
    return { parent: field(1), own: field(11) + field(12), ofReaped: field(13) + field(14) };
  } catch {
    return undefined; // ended meanwhile, or not Linux
  }
}
