import Database from 'better-sqlite3';
import type { Contestant } from './contestant.js';
import { GroupWriter } from './group-writer.js';
import { type PlainJob, runPlainLoop } from './plain-loop.js';

/** Rows in one transaction, as Stepping has it: more would hold up the event loop for too long. */
const MAX_BATCH = 256;

const CREATE = `
  create table job (id integer primary key, state integer not null default 0, step integer not null default 0, steps text not null) strict;
  create index job_ready on job (id) where state = 0`;

/** Loops of prepared statements of better-sqlite3: the ceiling. The same writes in the same groups, and nothing else. */
export const plainSqlite: Contestant = {
  async create(file) {
    const db = open(file);
    db.exec(CREATE);
    db.close();
  },
  async openProducer(file) {
    const db = open(file);
    const insert = db.prepare('insert into job (steps) values (?)');
    const write = inTransaction(db, (batch: readonly string[]) => batch.forEach((steps) => void insert.run(steps)));
    const writer = new GroupWriter<string>(async (batch) => write(batch), { lanes: 1, maxBatch: MAX_BATCH });
    return {
      enqueue: (count, args) => writer.add(JSON.stringify(Array.from({ length: count }, () => args))),
      close: async () => void db.close(),
    };
  },
  async openWorker(file, onStep) {
    const db = open(file);
    const select = db.prepare<[number], { id: number; steps: string }>('select id, steps from job where state = 0 order by id limit ?');
    const claim = db.prepare('update job set state = 1 where id = ?');
    const save = db.prepare('update job set step = ?, state = ? where id = ?');
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
    const stop = runPlainLoop(
      { claim: async (limit) => writeClaim(limit), saveProgress: (job, stepsDone) => writer.add([job, stepsDone]) },
      async () => onStep(),
    );
    const unfinished = db.prepare<[], { n: number }>('select exists (select 1 from job where state <> 2) as n');
    return {
      hasUnfinished: async () => unfinished.get()?.n === 1,
      async close() {
        await stop();
        db.close();
      },
    };
  },
};

function open(file: string): Database.Database {
  const db = new Database(file);
  db.pragma('journal_mode = WAL');
  db.pragma('synchronous = FULL');
  return db;
}

function inTransaction<A, R>(db: Database.Database, work: (argument: A) => R): (argument: A) => R {
  const begin = db.prepare('begin immediate');
  const commit = db.prepare('commit');
  return (argument) => {
    begin.run();
    const result = work(argument);
    commit.run();
    return result;
  };
}
