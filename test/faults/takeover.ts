import assert from 'node:assert/strict';
import { it } from '@jest/globals';
import { audit, gids } from './audit.js';
import type { FaultDatabase } from './databases.js';
import { Run } from './run.js';
import { now } from './trace.js';
import { until } from './until.js';

const LEASE_MS = 2_000;
const VICTIMS = 4;
const JOBS = 5;
/** Of what is promised, one second beyond the lease is for looking; the rest is for a machine that does other things, too. Unit: ms. */
const AT_MOST_MS = LEASE_MS + 1_000 + 4_000;

/** How long nobody works at the jobs of a process that died. */
export function describeTakeover(database: FaultDatabase): void {
  it('of the jobs of a killed process comes within its lease and a second; how it was distributed is printed', async () => {
    const run = await Run.open(database);
    const victims = await Promise.all(Array.from({ length: VICTIMS }, (_, i) => run.process({ node: `victim-${i}`, leaseMs: LEASE_MS })));
    const names = victims.map((_, i) => gids(`job-${i}`, JOBS));
    for (const [i, victim] of victims.entries()) {
      run.told.push(...(await victim.do('start', names[i] ?? [], [['take', { firstMs: 600_000 }], 'send'])));
    }
    await until('all are being worked at', () => run.lines('begins').length === VICTIMS * JOBS);
    await run.process({ node: 'heir', leaseMs: LEASE_MS, processor: { concurrency: VICTIMS * JOBS } });
    const killedAt = new Map<string, number>();
    for (const [i, victim] of victims.entries()) {
      // Anywhere in the rhythm of its renewals.
      await new Promise((resolve) => setTimeout(resolve, Math.random() * (LEASE_MS / 3)));
      for (const gid of names[i] ?? []) killedAt.set(gid, now());
      await victim.kill();
    }
    await run.untilAllEnded();
    // Whoever has it next: a victim whose turn comes later may be quicker than the heir.
    const begun = run.lines('begins').filter(({ index, gid, at }) => index === 0 && at > (killedAt.get(gid) ?? 0));
    const waits = [...Map.groupBy(begun, ({ gid }) => gid)]
      .map(([gid, [next]]) => (next?.at ?? 0) - (killedAt.get(gid) ?? 0))
      .sort((a, b) => a - b);
    const at = (share: number) => Math.round(waits[Math.ceil(share * waits.length) - 1] ?? 0);
    const inTime = waits.filter((ms) => ms <= LEASE_MS + 1_000).length;
    console.log(
      `${database.name}: a lease of ${LEASE_MS} ms; from the kill to the next attempt: p10 ${at(0.1)}, median ${at(0.5)}, p90 ${at(0.9)}, most ${at(1)} ms; ${inTime} of ${waits.length} within lease + 1 s`,
    );
    assert.equal(waits.length, VICTIMS * JOBS);
    assert.ok(at(1) <= AT_MOST_MS, `A job waited for ${at(1)} ms`);
    await audit(run);
  });
}
