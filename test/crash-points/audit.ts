import assert from 'node:assert/strict';
import { type Accident, MENDED } from './accidents.js';
import type { Scenario } from './scenarios.js';
import type { Stage, Start } from './stage.js';

/** Calls whose loss hides from a caller whether its transaction committed or its job is stored: only then may it be told "unknown". */
const HIDES_OUTCOME = new Set([
  'transaction.commit',
  'user.commit',
  'user.rollback',
  'store.createAlone',
  'db.hasCommitted',
  'db.resolveInDoubt',
  'store.resolve',
  'store.find',
  'server.query',
]);

/** What must hold when everybody has recovered, whatever happened. */
export async function audit(stage: Stage, scenario: Scenario, accident: Accident | undefined): Promise<void> {
  const row = await stage.row();
  for (const start of stage.starts) await auditStart(stage, start, scenario, accident);
  auditOrder(stage);
  const ends = scenario.ends ?? ['succeeded', 'rolled-back', undefined];
  assert.ok(ends.includes(row?.status), `The job ended as ${row?.status ?? 'no row'}`);
  if (row?.status === 'succeeded') assert.equal(row.step, row.of, 'A job succeeded before its last step');
}

async function auditStart(stage: Stage, start: Start, scenario: Scenario, accident: Accident | undefined): Promise<void> {
  const { told, tied, steps, refused } = start;
  const who = `The start ${start.id}`;
  const ended = new Set(stage.world.trace.filter((entry) => entry.start === start.id && entry.what === 'ends').map(({ step }) => step));
  const begun = stage.world.trace.filter((entry) => entry.start === start.id).length;
  const committed = tied && (await stage.committed(start));
  const ranAll = steps.every((step) => ended.has(step));
  // Where a job may end otherwise (a dead letter, a cancel), the scenario checks itself what ran.
  const mustRun = scenario.ends === undefined || tied;

  if (told === 'unknown') {
    assert.ok(
      accident && HIDES_OUTCOME.has(accident.call) && !MENDED.has(accident.kind),
      `${who} was told that nobody knows, but nothing had hidden it (${accident?.call}): ${start.error}`,
    );
  }
  if (refused) {
    assert.equal(begun, 0, `${who} was refused, but its steps ran`);
    return;
  }
  if (tied) {
    if (told === 'yes') assert.ok(committed, `${who} was told that it committed, but it did not`);
    if (told === 'no') assert.ok(!committed, `${who} was told that it did not commit (${start.error}), but it did`);
    if (!committed) assert.equal(begun, 0, `${who} did not commit, but its steps ran`);
    if (committed) assert.ok(ranAll, `${who} committed, but of its steps only ${[...ended].join() || 'none'} ran`);
    return;
  }
  if (told === 'yes' && mustRun)
    assert.ok(ranAll, `${who} was told that it is stored, but of its steps only ${[...ended].join() || 'none'} ran`);
  if (told === 'no') assert.equal(begun, 0, `${who} was told that it is not stored (${start.error}), but its steps ran`);
  if (begun > 0 && mustRun) assert.ok(ranAll, `${who} ran, but stopped after ${[...ended].join() || 'nothing'}`);
}

/**
 * A step begins only when the one before it has ended, and not after a cancel. One that ended before the cancel may have been checkpointed, and its successor be on the way: a start
 * is no write that a fence could stop.
 */
function auditOrder({ world, starts }: Stage): void {
  for (const start of starts) {
    const ended = new Set<string>();
    let endedUncancelled: ReadonlySet<string> | undefined;
    for (const entry of world.trace) {
      if (entry.what === 'cancelled') endedUncancelled ??= new Set(ended);
      if (entry.start !== start.id) continue;
      const before = start.steps[start.steps.indexOf(entry.step as never) - 1];
      if (entry.what === 'begins') {
        assert.ok(before === undefined || ended.has(before), `Step ${entry.step} began before step ${before} had ended`);
        const onTheWay = endedUncancelled === undefined || (before !== undefined && endedUncancelled.has(before));
        assert.ok(onTheWay, `Step ${entry.step} began after the job was cancelled`);
      }
      if (entry.what === 'ends') ended.add(entry.step);
    }
  }
}
