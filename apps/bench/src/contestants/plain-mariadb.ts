import { randomUUID } from 'node:crypto';
import mysql, { type Connection, type Pool, type PoolConnection } from 'mysql2/promise';
import type { Contestant, Order, Payload, Producer } from '../contestant.js';
import { GroupWriter } from './group-writer.js';
import { type PlainJob, runPlainLoop } from './plain-loop.js';

/** Batches of progress in flight at once. */
const LANES = 2;
const MAX_BATCH = 1_000;

const CREATE =
  'create table job (id bigint auto_increment primary key, state tinyint not null default 0, step smallint not null default 0, steps longtext not null, key job_ready (state, id))';
const INSERT = `insert into job (steps) select v.steps from json_table(?, '$[*]' columns (steps longtext path '$')) v`;
const INSERT_ONE = 'insert into job (steps) values (?)';
const SELECT = 'select id, steps from job where state = 0 order by id limit ? for update skip locked';
const SAVE = `update job j join json_table(?, '$[*]' columns (id bigint path '$[0]', step smallint path '$[1]', state tinyint path '$[2]')) v on j.id = v.id set j.step = v.step, j.state = v.state`;
const INSERT_ORDER = 'insert into bench_order (customer, amount) values (?, ?)';
/** In W7's other database: the rows that a two-phase start writes, of the same sizes. */
const CREATE_BARRIER =
  'create table if not exists barrier (gid varchar(128) not null, branch varchar(32) not null, op varchar(32) not null, number varchar(64) not null, reason varchar(32) not null, primary key (gid, branch, op, number))';
const CREATE_TIED = 'create table if not exists tied_job (gid varchar(128) primary key, steps longtext not null)';

type Place = (connection: PoolConnection, order: Order, args: Payload) => Promise<unknown>;

/** Loops of mysql2: the same writes in the same groups, and nothing else. */
function plainMariadb(place: Place): Contestant {
  return {
    async create(uri) {
      const connection = await connect(uri);
      await connection.query(CREATE);
      await connection.end();
    },
    async openProducer(uri, { callers, orders }) {
      const pool = mysql.createPool({ uri: orders, connectionLimit: callers });
      if (place === sameRows) for (const table of [CREATE_BARRIER, CREATE_TIED]) await pool.query(table);
      const one = await connect(uri);
      const writer = new GroupWriter<string>(async (list) => void (await one.execute(INSERT, [JSON.stringify(list)])), {
        lanes: 1,
        maxBatch: MAX_BATCH,
      });
      const producer: Producer = {
        enqueue: (args) => writer.add(steps(1, args)),
        async fill(count, payloads) {
          await Promise.all(payloads.map((args) => writer.add(steps(count, args))));
        },
        placeOrder: (order, args) => inTransaction(pool, (connection) => place(connection, order, args)),
        close: () => Promise.all([one.end(), pool.end()]),
      };
      return producer;
    },
    async openWorker(uri, { onStep }) {
      const claimer = await connect(uri);
      const savers = await Promise.all(Array.from({ length: LANES }, () => connect(uri)));
      const free = [...savers];
      const save = async (batch: readonly (readonly [PlainJob, number])[]) => {
        const connection = free.pop() as Connection;
        const rows = batch.map(([job, stepsDone]) => [job.id, stepsDone, stepsDone === job.steps.length ? 2 : 1]);
        await connection.execute(SAVE, [JSON.stringify(rows)]);
        free.push(connection);
      };
      const writer = new GroupWriter(save, { lanes: LANES, maxBatch: MAX_BATCH });
      let stop = async () => {};
      return {
        async start() {
          stop = runPlainLoop(
            { claim: (limit) => claim(claimer, limit), saveProgress: (job, stepsDone) => writer.add([job, stepsDone]) },
            async (args) => onStep(args),
          );
        },
        async hasUnfinished() {
          const [rows] = await claimer.query('select exists (select 1 from job where state in (0, 1)) as n');
          return (rows as { n: number }[])[0]?.n === 1;
        },
        async close() {
          await stop();
          await Promise.all([claimer, ...savers].map((connection) => connection.end()));
        },
      };
    },
  };
}

/** Business row and job in one transaction. */
const withJob: Place = async (connection, { customer, amount }, args) => {
  await connection.execute(INSERT_ORDER, [customer, amount]);
  await connection.execute(INSERT_ONE, [steps(1, args)]);
};

/** Business row alone. */
const bare: Place = (connection, { customer, amount }) => connection.execute(INSERT_ORDER, [customer, amount]);

/** Business row, barrier and job: what a two-phase start writes, in one transaction. */
const sameRows: Place = async (connection, { customer, amount }, args) => {
  const gid = randomUUID();
  await connection.execute(INSERT_ORDER, [customer, amount]);
  await connection.execute(`insert into barrier values (?, '00', 'msg', ?, 'msg')`, [gid, randomUUID()]);
  await connection.execute('insert into tied_job values (?, ?)', [gid, steps(1, args)]);
};

async function inTransaction(pool: Pool, work: (connection: PoolConnection) => Promise<unknown>): Promise<void> {
  const connection = await pool.getConnection();
  try {
    await connection.query('start transaction');
    await work(connection);
    await connection.query('commit');
  } finally {
    connection.release();
  }
}

async function claim(connection: Connection, limit: number): Promise<PlainJob[]> {
  await connection.query('start transaction');
  const [rows] = await connection.query(SELECT, [limit]);
  const jobs = (rows as { id: number; steps: string }[]).map(({ id, steps }) => ({ id, steps: JSON.parse(steps) }));
  if (jobs.length > 0) await connection.query('update job set state = 1 where id in (?)', [jobs.map(({ id }) => id)]);
  await connection.query('commit');
  return jobs;
}

async function connect(uri: string): Promise<Connection> {
  const connection = await mysql.createConnection({ uri });
  await connection.query('set session transaction isolation level read committed');
  return connection;
}

function steps(count: number, args: Payload): string {
  return JSON.stringify(Array.from({ length: count }, () => args));
}

export const contestants = { kept: plainMariadb(withJob), bare: plainMariadb(bare), rows: plainMariadb(sameRows) };
