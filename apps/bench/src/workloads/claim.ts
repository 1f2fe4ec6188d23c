import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { createStepping, type Stepping, type SteppingPlugin } from '@stepping/core';
import { type ClaimedJob, type CreateJob, localTm, type Save, Store, type TransactionStore } from '@stepping/tm-local';
import { typeormStore } from '@stepping/tm-local-typeorm';
import pg from 'pg';
import { DataSource } from 'typeorm';
import { benchSteps } from '../contestants/stepping.js';
import type { Databases } from '../databases/databases.js';
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

export const CLAIM_CASES = ['1 000 000 finished', '1 000 000 due in another queue', 'old snapshot'] as const;
export type ClaimCase = (typeof CLAIM_CASES)[number];

/**
 * How long a claim of 100 of 1 000 due jobs takes, on PostgreSQL, with a million rows beside them or dead entries before them; and in turn with each of these, one of a table that has only
 * the due jobs, so that what else the machine does hits both. Unit: ms.
 */
export async function claim({ databases, quick }: Setting, claimCase: ClaimCase): Promise<Values> {
  const beside = quick ? QUICK.BESIDE : BESIDE;
  const crowded = await openTable(databases);
  const empty = await openTable(databases);
  try {
    if (claimCase === '1 000 000 finished') await insertRows(crowded.client, beside, { queue: 'default', due: false });
    if (claimCase === '1 000 000 due in another queue') await insertRows(crowded.client, beside, { queue: 'another', due: true });
    for (const { client, url } of [crowded, empty]) {
      await insertRows(client, DUE, { queue: 'default', due: true });
      await databases.settle(url);
    }
    if (claimCase === 'old snapshot') {
      await crowded.client.query('begin isolation level repeatable read');
      await crowded.client.query('select count(*) from stepping_job');
      const rounds = (quick ? QUICK.CHURN : CHURN) / LIMIT;
      for (let i = 0; i < rounds; i++) for (const { store } of [crowded, empty]) await claimAndReplace(store);
    }
    const times: number[] = [];
    const emptyTimes: number[] = [];
    for (let i = 0; i < (quick ? QUICK.ROUNDS : ROUNDS); i++) {
      times.push(await claimAndReplace(crowded.store));
      emptyTimes.push(await claimAndReplace(empty.store));
    }
    for (const list of [times, emptyTimes]) list.sort((a, b) => a - b);
    const [p50, p99, emptyP50, emptyP99] = [times, emptyTimes].flatMap((list) => [percentile(list, 50), percentile(list, 99)]) as [
      number,
      number,
      number,
      number,
    ];
    return { p50, p99, emptyP50, emptyP99, p50Ratio: p50 / emptyP50, p99Ratio: p99 / emptyP99 };
  } finally {
    await crowded.close();
    await empty.close();
  }
}

interface Table {
  readonly url: string;
  readonly client: pg.Client;
  readonly store: TransactionStore;
  close(): Promise<void>;
}

async function openTable(databases: Databases): Promise<Table> {
  const url = await databases.open('jobs');
  const { store, close } = await openStore(url);
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  return {
    url,
    client,
    store,
    async close() {
      await client.end();
      await close();
    },
  };
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
