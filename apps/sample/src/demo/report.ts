import type { Findings } from './audit.js';

/** More than these would only scroll the table away. */
const PROBLEMS_SHOWN = 20;

/** Prints the table of what was found, then everything that is not as it should be. */
export function printReport(findings: Findings, { seconds, kills }: { seconds: number; kills: number }): void {
  const rows: [string, number][] = [
    ['orders placed', findings.ordersPlaced],
    ['jobs finished', findings.jobsFinished],
    ['steps run', findings.stepsRun],
    ['steps repeated after a crash', findings.stepsRepeated],
    ['orders lost', findings.ordersLost],
    ['accepted twice', findings.acceptedTwice],
    ['charged twice', findings.chargedTwice],
    ['charged or mailed without an order', findings.withoutOrder],
    ['out of order', findings.outOfOrder],
  ];
  const label = Math.max(...rows.map(([what]) => what.length));
  const number = Math.max(...rows.map(([, count]) => String(count).length));
  console.log();
  for (const [what, count] of rows) console.log(`  ${what.padEnd(label)}  ${String(count).padStart(number)}`);
  console.log();

  const { problems } = findings;
  if (problems.length === 0) {
    console.log(`All is well: ${kills} kills, ${seconds.toFixed(1)} s.`);
    return;
  }
  console.log(`${problems.length} things are not as they should be:`);
  for (const problem of problems.slice(0, PROBLEMS_SHOWN)) console.log(`  - ${problem}`);
  if (problems.length > PROBLEMS_SHOWN) console.log(`  … and ${problems.length - PROBLEMS_SHOWN} more`);
}
