import { readdirSync, readFileSync } from 'node:fs';
import pg from 'pg';

/** Linux counts in hundredths of a second. Unit: µs. */
const TICK_US = 10_000;

/** Reads the CPU time that a PostgreSQL server on this host has used so far, in µs. Undefined where /proc does not tell. */
export async function serverCpuOf(connectionString: string): Promise<(() => number) | undefined> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  const { rows } = await client.query('select pg_backend_pid() as pid');
  const postmaster = processOf(rows[0].pid)?.parent;
  await client.end();
  if (postmaster === undefined) return undefined;
  return () => {
    const root = processOf(String(postmaster));
    let ticks = root === undefined ? Number.NaN : root.own + root.ofReaped;
    for (const pid of readdirSync('/proc')) {
      const child = /^\d+$/.test(pid) ? processOf(pid) : undefined;
      if (child?.parent === postmaster) ticks += child.own;
    }
    return ticks * TICK_US;
  };
}

function processOf(pid: string): { parent: number; own: number; ofReaped: number } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const field = (i: number) => Number(fields[i]);
    return { parent: field(1), own: field(11) + field(12), ofReaped: field(13) + field(14) };
  } catch {
    return undefined; // ended meanwhile, or not Linux
  }
}
