import { randomUUID } from 'node:crypto';
import Database from 'better-sqlite3';
import type { Contestant, Order, Payload, Producer } from '../contestant.js';
import { GroupWriter } from './group-writer.js';
import { type PlainJob, runPlainLoop } from './plain-loop.js';

/** Rows in one transaction, as Stepping has it: more would hold up the event loop for too long. */
const MAX_BATCH = 256;

const CREATE = `
  create table job (id integer primary key, state integer not null default 0, step integer not null default 0, steps text not null) strict;
  create index job_ready on job (id) where state = 0`;
const INSERT = 'insert into job (steps) values (?)';
const INSERT_ORDER = 'insert into bench_order (customer, amount) values (?, ?)';
/** In W7's other file: the rows that a two-phase start writes, of the same sizes. */
const CREATE_TWO_PHASE_ROWS = `
  create table if not exists barrier (gid text not null, branch text not null, op text not null, number text not null, reason text not null, primary key (gid, branch, op, number)) strict;
  create table if not exists tied_job (gid text primary key, steps text not null) strict`;

type Place = (orders: Database.Database) => (order: Order, args: Payload) => void;

/** Loops of prepared statements of better-sqlite3: the same writes in the same groups, and nothing else. */
function plainSqlite(place: Place): Contestant {
  return {
    async create(file) {
      const db = open(file);
      db.exec(CREATE);
      db.close();
    },
    async openProducer(file, { orders: ordersFile }) {
      const db = open(file);
      const orders = ordersFile === file ? db : open(ordersFile);
      const insert = db.prepare(INSERT);
      const write = inTransaction(db, (batch: readonly string[]) => {
        for (const one of batch) insert.run(one);
      });
      const writer = new GroupWriter<string>(async (batch) => write(batch), { lanes: 1, maxBatch: MAX_BATCH });
      const placeOne = place(orders);
      const producer: Producer = {
        enqueue: (args) => writer.add(steps(1, args)),
        async fill(count, payloads) {
          await Promise.all(payloads.map((args) => writer.add(steps(count, args))));
        },
        // Others of this process are let in between two commits.
        placeOrder: (order, args) =>
          new Promise((resolve) =>
            setImmediate(() => {
              placeOne(order, args);
              resolve(undefined);
            }),
          ),
        async close() {
          db.close();
          orders.close();
        },
      };
      return producer;
    },
    async openWorker(file, { onStep }) {
      const db = open(file);
      const select = db.prepare<[number], { id: number; steps: string }>('select id, steps from job where state = 0 order by id limit ?');
      const claim = db.prepare('update job set state = 1 where id = ?');
      const save = db.prepare('update job set step = ?, state = ? where id = ?');
      const unfinished = db.prepare<[], { n: number }>('select exists (select 1 from job where state <> 2) as n');
      const writeClaim = inTransaction(db, (limit: number) => {
        const rows = select.all(limit);
        for (const { id } of rows) claim.run(id);
        return rows.map(({ id, steps }): PlainJob => ({ id, steps: JSON.parse(steps) }));
      });
      const writeProgress = inTransaction(db, (batch: readonly (readonly [PlainJob, number])[]) => {
        for (const [job, stepsDone] of batch) save.run(stepsDone, stepsDone === job.steps.length ? 2 : 1, job.id);
      });
      const writer = new GroupWriter(async (batch: readonly (readonly [PlainJob, number])[]) => writeProgress(batch), {
        lanes: 1,
        maxBatch: MAX_BATCH,
      });
      let stop = async () => {};
      return {
        async start() {
          stop = runPlainLoop(
            { claim: async (limit) => writeClaim(limit), saveProgress: (job, stepsDone) => writer.add([job, stepsDone]) },
            async (args) => onStep(args),
          );
        },
        hasUnfinished: async () => unfinished.get()?.n === 1,
        async close() {
          await stop();
          db.close();
        },
      };
    },
  };
}

/** Business row and job in one transaction. */
const withJob: Place = (orders) => {
  const insertOrder = orders.prepare(INSERT_ORDER);
  const insertJob = orders.prepare(INSERT);
  return inTransaction(orders, ({ customer, amount }: Order, args: Payload) => {
    insertOrder.run(customer, amount);
    insertJob.run(steps(1, args));
  });
};

/** Business row alone. */
const bare: Place = (orders) => {
  const insertOrder = orders.prepare(INSERT_ORDER);
  return inTransaction(orders, ({ customer, amount }: Order) => {
    insertOrder.run(customer, amount);
  });
};

/** Business row, barrier and job: what a two-phase start writes, in one transaction. */
const sameRows: Place = (orders) => {
  orders.exec(CREATE_TWO_PHASE_ROWS);
  const insertOrder = orders.prepare(INSERT_ORDER);
  const insertBarrier = orders.prepare(`insert into barrier values (?, '00', 'msg', ?, 'msg')`);
  const insertJob = orders.prepare('insert into tied_job values (?, ?)');
  return inTransaction(orders, ({ customer, amount }: Order, args: Payload) => {
    const gid = randomUUID();
    insertOrder.run(customer, amount);
    insertBarrier.run(gid, randomUUID());
    insertJob.run(gid, steps(1, args));
  });
};

function open(file: string): Database.Database {
  const db = new Database(file);
  db.pragma('journal_mode = WAL');
  db.pragma('synchronous = FULL');
  return db;
}

function inTransaction<A extends readonly unknown[], R>(db: Database.Database, work: (...args: A) => R): (...args: A) => R {
  const begin = db.prepare('begin immediate');
  const commit = db.prepare('commit');
  return (...args) => {
    begin.run();
    const result = work(...args);
    commit.run();
    return result;
  };
}

function steps(count: number, args: Payload): string {
  return JSON.stringify(Array.from({ length: count }, () => args));
}

/** W4's transaction needs the table of jobs, which W7's other file does not have. */
export const contestants = {
  kept: plainSqlite(lazily(withJob)),
  bare: plainSqlite(lazily(bare)),
  rows: plainSqlite(lazily(sameRows)),
};

/** Prepared at the first order: most workloads have none, and no table for them. */
function lazily(place: Place): Place {
  return (orders) => {
    let prepared: ReturnType<Place> | undefined;
    return (order, args) => {
      prepared ??= place(orders);
      prepared(order, args);
    };
  };
}
