import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { createStepping, type Stepping, type SteppingPlugin } from '@stepping/core';
import { type ClaimedJob, type CreateJob, localTm, type Save, Store, type TransactionStore } from '@stepping/tm-local';
import { typeormStore } from '@stepping/tm-local-typeorm';
import pg from 'pg';
import { DataSource } from 'typeorm';
import { benchSteps } from '../contestants/stepping.js';
import type { Values } from '../measured.js';
import { percentile } from '../statistics.js';
import type { Setting } from './setting.js';

/** Due jobs, and how many of them a claim takes. */
const DUE = 1_000;
const LIMIT = 100;
const LEASE_MS = 10_000;
/** Rows in nobody's way, or so it should be. */
const BESIDE = 1_000_000;
/** Jobs that are claimed and finished while an old snapshot is open, before the claims that count. */
const CHURN = 100_000;
const ROUNDS = 300;
const QUICK = { BESIDE: 10_000, CHURN: 2_000, ROUNDS: 20 };

export const CLAIM_CASES = ['empty table', '1 000 000 finished', '1 000 000 due in another queue', 'old snapshot'] as const;
export type ClaimCase = (typeof CLAIM_CASES)[number];

/** How long a claim of 100 of 1 000 due jobs takes, on PostgreSQL, with a million rows beside them or dead entries before them. Unit: ms. */
export async function claim({ databases, quick }: Setting, claimCase: ClaimCase): Promise<Values> {
  const beside = quick ? QUICK.BESIDE : BESIDE;
  const url = await databases.open('jobs');
  const opened = await openStore(url);
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const { store } = opened;
    if (claimCase === '1 000 000 finished') await insertRows(client, beside, { queue: 'default', due: false });
    if (claimCase === '1 000 000 due in another queue') await insertRows(client, beside, { queue: 'another', due: true });
    await insertRows(client, DUE, { queue: 'default', due: true });
    await databases.settle(url);
    if (claimCase === 'old snapshot') {
      await client.query('begin isolation level repeatable read');
      await client.query('select count(*) from stepping_job');
      const rounds = (quick ? QUICK.CHURN : CHURN) / LIMIT;
      for (let i = 0; i < rounds; i++) await claimAndReplace(store);
    }
    const times: number[] = [];
    for (let i = 0; i < (quick ? QUICK.ROUNDS : ROUNDS); i++) times.push(await claimAndReplace(store));
    times.sort((a, b) => a - b);
    return { p50: percentile(times, 50), p99: percentile(times, 99), mean: times.reduce((sum, ms) => sum + ms, 0) / times.length };
  } finally {
    await client.end();
    await opened.close();
  }
}

/** One claim, timed; what it took is finished, and as many new jobs come due. */
async function claimAndReplace(store: TransactionStore): Promise<number> {
  const began = performance.now();
  const claimed = await store.claimDue({ queue: 'default', limit: LIMIT, leaseMs: LEASE_MS });
  const elapsedMs = performance.now() - began;
  if (claimed.length !== LIMIT) throw new Error(`A claim took ${claimed.length} jobs in place of ${LIMIT}.`);
  await store.save(claimed.map(finished));
  await store.create(Array.from({ length: LIMIT }, newJob));
  return elapsedMs;
}

function finished({ gid, lease }: ClaimedJob): Save {
  return { gid, lease, step: 1, attempt: 1, status: 'succeeded', giveUp: true, dueInMs: undefined, queue: undefined, error: undefined };
}

/** In the order of time, as gids are. */
let number = 0;

function newJob(): CreateJob {
  number++;
  return {
    gid: `new-${String(number).padStart(12, '0')}`,
    instance: randomUUID(),
    status: 'submitted',
    queue: 'default',
    tenant: undefined,
    db: undefined,
    steps: '{"v":1,"steps":[{"n":"last","a":{"id":1}}]}',
    lease: 1,
    held: false,
    dueInMs: 0,
  };
}

/** As the store would have left them. */
async function insertRows(client: pg.Client, count: number, { queue, due }: { queue: string; due: boolean }): Promise<void> {
  await client.query(
    `insert into stepping_job (gid, lease, due_at, created_at, finished_at, step, attempt, status, held, instance, queue, steps)
     select lpad(to_hex(n), 16, '0') || '-' || $2::text || $3::boolean, 1, case when $3::boolean then now() - interval '1 s' end, now(), case when $3::boolean then null else now() end, 0, 1, case when $3::boolean then 1 else 2 end, 0,
       gen_random_uuid(), $2::text, '{"v":1,"steps":[{"n":"last","a":{"id":1,"kind":"bench","note":"' || repeat('x', 64) || '"}}]}'
     from generate_series(1, $1) n`,
    [count, queue, due],
  );
}

async function openStore(url: string): Promise<{ store: TransactionStore; close(): Promise<void> }> {
  const dataSource = await new DataSource({ type: 'postgres', url }).initialize();
  let store: TransactionStore | undefined;
  const look: SteppingPlugin = {
    name: 'bench',
    start(resolver) {
      store = resolver.resolve(Store);
    },
  };
  const app: Stepping<any> = createStepping({
    steps: Object.values(benchSteps(() => {})),
    tm: localTm({ store: typeormStore({ dataSource }), processor: false }),
    use: [look],
  });
  await app.start();
  return {
    store: store as TransactionStore,
    async close() {
      await app.stop();
      await dataSource.destroy();
    },
  };
}
