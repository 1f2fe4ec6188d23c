import assert from 'node:assert/strict';
import type { JobInfo } from '@stepping/core';
import type { Books } from './books.js';
import type { Shop, Told } from './shop.js';
import type { TraceLine } from './trace.js';

/** What is looked at. */
export interface Audited {
  readonly books: Pick<Books, 'read'>;
  readonly observer: Pick<Shop, 'stepping'>;
  readonly told: readonly Told[];
  lines(): readonly TraceLine[];
}

/** How a run was. */
export interface Expected {
  /** Nobody died, froze or was not heard: then no step may have begun twice, unless it had failed. */
  readonly noRepeats?: boolean;
}

/**
 * What must hold whatever happened, when all is over: what callers were told is so; steps ran if, and only if, the order was committed (the job was stored); all of
 * them, in their order; what was to be done once was done once.
 */
export async function audit(run: Audited, { noRepeats = false }: Expected = {}): Promise<void> {
  const { orders, effects } = await run.books.read();
  const found = new Map((await allJobs(run)).map((job) => [job.gid, job]));
  const lines = Map.groupBy(run.lines(), ({ gid }) => gid);
  for (const told of run.told) {
    const job = found.get(told.gid);
    const stored = told.kind === 'order' ? orders.has(told.gid) : job !== undefined;
    if (told.told === 'yes') assert.ok(stored, `${told.gid} was told to be done, but is not there`);
    if (told.told === 'no') assert.ok(!stored, `${told.gid} was told not to be done (${told.error}), but is there`);
    auditJob(told, stored, lines.get(told.gid) ?? [], noRepeats);
    if (stored) assert.equal(job?.status, 'succeeded', `${told.gid} is ${job?.status ?? 'not there'}: ${job?.lastError?.message}`);
    else assert.ok(job === undefined || job.status === 'rolled-back', `${told.gid} was not committed, but its job is ${job?.status}`);
    const booked = effects.filter((key) => key.startsWith(`${told.gid}/`));
    const keys = told.plan.flatMap((entry, index) => (entry === 'book' ? [`${told.gid}/${String(index).padStart(3, '0')}`] : []));
    assert.equal(booked.sort().join(), stored ? keys.join() : '', `What ${told.gid} did once`);
  }
}

function auditJob({ gid, plan }: Told, stored: boolean, lines: readonly TraceLine[], noRepeats: boolean): void {
  const begun = lines.filter(({ what }) => what === 'begins');
  if (!stored) {
    assert.equal(begun.length, 0, `${gid} was not committed, but its steps ran`);
    return;
  }
  const ended = new Set<number>();
  for (const { what, index } of lines) {
    if (what === 'begins')
      assert.ok(index === 0 || ended.has(index - 1), `Step ${index} of ${gid} began before the one in front of it had ended`);
    if (what === 'ends') ended.add(index);
  }
  assert.equal(ended.size, plan.length, `Of ${gid} only the steps ${[...ended]} ran to their end`);
  // An attempt that has failed, by its timeout on a busy machine, is followed by another one.
  const failed = lines.filter(({ what }) => what === 'fails').length;
  if (noRepeats) assert.equal(begun.length, plan.length + failed, `Steps of ${gid} began more than once: ${JSON.stringify(lines)}`);
}

export async function allJobs({ observer }: Pick<Audited, 'observer'>): Promise<JobInfo[]> {
  const all: JobInfo[] = [];
  let cursor: string | undefined;
  do {
    const page = await observer.stepping.jobs.list({ limit: 500, cursor });
    all.push(...page.jobs);
    cursor = page.cursor;
  } while (cursor !== undefined);
  return all;
}

/** Names of jobs, sortable. */
export function gids(name: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${name}-${String(i).padStart(4, '0')}`);
}
