import assert from 'node:assert/strict';
import { it } from '@jest/globals';
import { audit, gids } from './audit.js';
import type { FaultDatabase } from './databases.js';
import type { ShopProcess } from './processes.js';
import { Run } from './run.js';
import { ORDINARY } from './steps.js';
import { until } from './until.js';

const LEASE_MS = 1_000;
const JOBS = 12;

/** A process that stands still, with all its connections open, and goes on later. */
export function describeFrozen(database: FaultDatabase): void {
  it('that is frozen past its lease has its jobs taken over, and changes nothing of them when it wakes up', async () => {
    const run = await Run.open(database);
    const [frozen, heir] = [
      await run.process({ node: 'frozen', leaseMs: LEASE_MS }),
      await run.process({ node: 'heir', leaseMs: LEASE_MS }),
    ];
    run.told.push(...(await frozen.do('order', gids('order', JOBS), [['take', { firstMs: 3_000 }], 'book', 'send'])));
    await until('it works on all of them', () => run.lines('begins').length >= JOBS);
    await freeze(frozen, run);
    await run.untilAllEnded();
    const before = run.lines('begins').length;
    frozen.thaw();
    const lost = () => new Set(run.lines('lease-lost').flatMap(({ node, gid }) => (node === 'frozen' ? [gid] : [])));
    await until('it has noticed that none is its own any more', () => lost().size === JOBS);
    assert.equal(run.lines('begins').length, before, 'It began a step of a job that was not its own any more');
    // It is as good as any other now.
    await heir.stop();
    run.told.push(...(await frozen.do('order', gids('later', 4), ORDINARY)));
    await run.untilAllEnded();
    await frozen.stop();
    await audit(run);
  });
}

/** Between two of its writes: in the middle of one it would hold up everybody in SQLite's file, whose lock is that of a process, for as long as it is frozen. */
async function freeze(process: ShopProcess, run: Run): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    process.freeze();
    const probe = await run.observer.start(`probe-${attempt}`, ['pack']);
    if (probe.told === 'yes') return;
    process.thaw();
  }
}
