import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { testService } from '@stepping/test-services';
import type { TransactionStore } from '@stepping/tm-local';
import { type QuotedName, quoteName } from '@stepping/typeorm';
import { DataSource } from 'typeorm';
import { mysqlStatements } from '../src/mysql/mysql-statements.js';
import { type PostgresStatements, postgresStatements } from '../src/postgres/postgres-statements.js';
import { sqliteStatements } from '../src/sqlite/sqlite-statements.js';
import { aClaim, aJob, openStore } from './a-store.js';

// What a look for due jobs costs must not grow with the jobs that are not: a million finished ones, or a million due ones of a service that is down.

const MILLION = 1_000_000;
const JOBS = '"stepping_job"' as QuotedName;
const BUILD_TIMEOUT_MS = 180_000;
const postgres = await testService('postgres');
const mysqls = [await testService('mariadb'), await testService('mysql')];

postgres.describe('claims on PostgreSQL', () => {
  const sql = postgresStatements(JOBS);
  let dataSource: DataSource;
  let store: TransactionStore;

  beforeAll(async () => {
    dataSource = await new DataSource({ type: 'postgres', url: await postgres.database() }).initialize();
    store = openStore({ dataSource });
    await store.start();
    // The plans are the same, and it is built in half the time.
    await dataSource.query('alter table stepping_job set unlogged');
    await dataSource.query('alter table stepping_job set (autovacuum_enabled = off)');
  });

  afterAll(async () => {
    await store.stop();
    await dataSource.destroy();
  });

  /** Runs the statement as the store's connections do, by the plan that knows no values, and undoes it. */
  const explain = async (statement: keyof PostgresStatements, values: string): Promise<Explained> => {
    const runner = dataSource.createQueryRunner();
    try {
      await runner.query('begin');
      await runner.query('set local plan_cache_mode = force_generic_plan');
      await runner.query('set local jit = off');
      await runner.query(`prepare planned as ${(sql[statement] as { text: string }).text}`);
      const [row] = await runner.query(`explain (analyze, buffers, format json) execute planned(${values})`);
      return explained(row['QUERY PLAN'][0].Plan);
    } finally {
      await runner.query('rollback');
      await runner.query('deallocate all');
      await runner.release();
    }
  };

  /** Every look that a processor takes, for a hundred of a thousand due jobs. */
  const looksAreCheap = async () => {
    for (const [statement, values] of [
      ['claimJobs', "'default', 100, 10000"],
      ['claimJobsFrom', "'default', 100, 10000, now() - interval '1 hour'"],
      ['peekDue', "'default', now()"],
      ['selectNextDue', "array['default', 'other']"],
    ] as const) {
      const plan = await explain(statement, values);
      expect({ statement, scans: plan.scansOf('stepping_job_due') }).toEqual({
        statement,
        scans: expect.arrayContaining(['stepping_job_due']),
      });
      expect({
        statement,
        wholeTable: plan.nodes.filter((node) => node['Node Type'] === 'Seq Scan' && node['Relation Name'] === 'stepping_job'),
      }).toEqual({
        statement,
        wholeTable: [],
      });
      // A hundred rows, read, locked, updated and put into two indexes; the table has some 60 000 pages and more.
      expect(plan.pages).toBeLessThan(3_000);
      expect(plan.mostRows).toBeLessThanOrEqual(1_000);
    }
  };

  it(
    'read no more than they take beside a million finished jobs, without statistics and with them',
    async () => {
      await dataSource.query(`
      insert into stepping_job (gid, lease, created_at, finished_at, step, attempt, status, held, instance, queue, steps)
      select 'done-' || i, 1, now(), now(), 3, 1, 2, 0, 'done', 'default', '{"v":1,"steps":[]}' from generate_series(1, ${MILLION}) i`);
      await store.create(Array.from({ length: 1_000 }, (_, i) => aJob({ gid: `due-${i}` })));
      await looksAreCheap();
      await dataSource.query('analyze stepping_job');
      await looksAreCheap();
    },
    BUILD_TIMEOUT_MS,
  );

  it(
    'read no more than they take beside a million due jobs of another queue, without statistics of them and with them',
    async () => {
      await dataSource.query(`
      insert into stepping_job (gid, lease, due_at, created_at, step, attempt, status, held, instance, queue, steps)
      select 'other-' || i, 1, now() - interval '1 day', now(), 0, 1, 1, 0, 'other', 'other', '{"v":1,"steps":[]}' from generate_series(1, ${MILLION}) i`);
      await looksAreCheap();
      await dataSource.query('analyze stepping_job');
      await looksAreCheap();
    },
    BUILD_TIMEOUT_MS,
  );

  it(
    'begin where the last one ended while an old transaction keeps what was claimed before from being cleaned up',
    async () => {
      const old = dataSource.createQueryRunner();
      await old.startTransaction('REPEATABLE READ');
      await old.query('select count(*) from stepping_migration');
      // A backlog in any order, claimed: each row leaves its entry at the head of the index.
      await dataSource.query(`
      insert into stepping_job (gid, lease, due_at, created_at, step, attempt, status, held, instance, queue, steps)
      select 'backlog-' || i, 1, now() - interval '1 hour' + i * 7919 % 20000 * interval '1 ms', now(), 0, 1, 1, 0, 'i', 'backlog', '{"v":1,"steps":[]}' from generate_series(1, 20000) i`);
      await store.create(Array.from({ length: 100 }, (_, i) => aJob({ gid: `late-${i}`, queue: 'backlog' })));
      await dataSource.query(`update stepping_job set due_at = now() + interval '1 hour' where queue = 'backlog' and gid like 'backlog-%'`);
      const [full, fromBound] = [
        await explain('claimJobs', "'backlog', 100, 10000"),
        await explain('claimJobsFrom', "'backlog', 100, 10000, now() - interval '1 minute'"),
      ];
      expect(full.pages).toBeGreaterThan(10_000);
      expect(fromBound.pages).toBeLessThan(3_000);
      expect(await store.claimDue(aClaim({ queue: 'backlog' }))).toHaveLength(100);
      await old.rollbackTransaction();
      await old.release();
    },
    BUILD_TIMEOUT_MS,
  );

  it('find a hundred saves by their key', async () => {
    const gids = `'{${Array.from({ length: 100 }, (_, i) => `due-${i}`)}}'::text[]`;
    const all = (value: string, type: string) => `array_fill(${value}, array[100])::${type}[]`;
    const plan = await explain(
      'saveJobs',
      [
        gids,
        all('1', 'bigint'),
        all('1', 'int'),
        all('1', 'int'),
        all('1', 'int2'),
        all('0', 'int2'),
        all('null::bigint', 'bigint'),
        all('null::text', 'text'),
        all('null::text', 'text'),
      ].join(', '),
    );
    expect(plan.scansOf('stepping_job_pkey')).toEqual(['stepping_job_pkey']);
    expect(plan.pages).toBeLessThan(3_000);
  });
});

for (const service of mysqls) {
  service.describe(`claims on ${service.name}`, () => {
    const sql = mysqlStatements(quoteName('mysql', 'stepping_job'), quoteName('mysql', 'stepping_job_due'));
    let dataSource: DataSource;
    let store: TransactionStore;

    beforeAll(async () => {
      dataSource = await new DataSource({ type: 'mariadb', url: await service.database(), dateStrings: true }).initialize();
      store = openStore({ dataSource });
      await store.start();
    });

    afterAll(async () => {
      await store.stop();
      await dataSource.destroy();
    });

    /** How many rows and entries the server reads for a statement, which is undone. */
    const readsOf = async (statement: string, values: readonly unknown[]): Promise<number> => {
      const runner = dataSource.createQueryRunner();
      try {
        await runner.query('set transaction isolation level read committed');
        await runner.query('begin');
        const count = async (): Promise<number> => {
          const rows: { Value: string }[] = await runner.query(`show session status like 'Handler_read%'`);
          return rows.reduce((sum, { Value }) => sum + Number(Value), 0);
        };
        const before = await count();
        const overhead = (await count()) - before;
        const began = await count();
        await runner.query(statement, [...values]);
        return (await count()) - began - overhead;
      } finally {
        await runner.query('rollback');
        await runner.release();
      }
    };

    const looksAreCheap = async () => {
      for (const [statement, values] of [
        [sql.selectDue, ['default', 100]],
        [sql.selectDueFrom, ['default', '2020-01-01', 100]],
        [sql.peekDue, ['default', '2100-01-01']],
        [sql.selectNextDue(2), ['default', 'default', 'other', 'other']],
        [sql.claimJobs, [10_000, Array.from({ length: 100 }, (_, i) => `due-${i}`)]],
      ] as const) {
        const reads = await readsOf(statement, values);
        expect({ statement, reads, few: reads < 500 }).toEqual({ statement, reads, few: true });
      }
    };

    /** In one statement, into an empty table: the server then builds the indexes at the end, and writes no undo for each row. */
    const fill = async () => {
      const digit = `(select 0 d ${Array.from({ length: 9 }, (_, i) => `union all select ${i + 1}`).join(' ')})`;
      const million = ['a', 'b', 'c', 'd', 'e', 'f'].map((name) => `${digit} ${name}`).join(' straight_join ');
      const rows = (gid: string, dueAt: string, finishedAt: string, status: number, queue: string) =>
        `select concat('${gid}-', a.d, b.d, c.d, d.d, e.d, f.d), 1, ${dueAt}, utc_timestamp(6), ${finishedAt}, 0, 1, ${status}, 0, 'i', '${queue}', '{"v":1,"steps":[]}' from ${million}`;
      const runner = dataSource.createQueryRunner();
      await runner.query('set session unique_checks = 0, foreign_key_checks = 0');
      await runner.query(`
        insert into stepping_job (gid, lease, due_at, created_at, finished_at, step, attempt, status, held, instance, queue, steps)
        ${rows('done', 'null', 'utc_timestamp(6)', 2, 'default')} union all ${rows('other', 'utc_timestamp(6) - interval 1 day', 'null', 1, 'other')}`);
      await runner.query('set session unique_checks = default, foreign_key_checks = default');
      await runner.release();
    };

    it(
      'read no more than they take beside a million finished jobs and a million due ones of another queue, without statistics and with them',
      async () => {
        await fill();
        await store.create(Array.from({ length: 1_000 }, (_, i) => aJob({ gid: `due-${i}` })));
        await looksAreCheap();
        await dataSource.query('analyze table stepping_job');
        await looksAreCheap();
        expect(await store.claimDue(aClaim({ limit: 100 }))).toHaveLength(100);
      },
      BUILD_TIMEOUT_MS,
    );

    it('begin where the last one ended, and what lies below is found all the same', async () => {
      await dataSource.query('truncate stepping_job');
      await store.create(['old', 'young'].map((gid) => aJob({ gid, queue: 'bounded' })));
      await dataSource.query(`update stepping_job set due_at = due_at + interval 10 second where gid = 'old'`);
      const claimed = async () => (await store.claimDue(aClaim({ queue: 'bounded' }))).map(({ gid }) => gid);
      expect(await claimed()).toEqual(['young']);
      await dataSource.query(`update stepping_job set due_at = utc_timestamp(6) - interval 1 hour where gid = 'old'`);
      expect(await claimed()).toEqual(['old']); // an empty bounded claim is followed by a look at the whole
    });
  });
}

describe('claims on SQLite', () => {
  const sql = sqliteStatements(JOBS);
  const folder = mkdtempSync(join(tmpdir(), 'stepping-plans-'));
  let dataSource: DataSource;
  let store: TransactionStore;

  beforeAll(async () => {
    dataSource = await new DataSource({ type: 'better-sqlite3', database: join(folder, 'jobs.sqlite') }).initialize();
    store = openStore({ dataSource });
    await store.start();
    await dataSource.query('pragma synchronous = off');
  });

  afterAll(async () => {
    await store.stop();
    await dataSource.destroy();
    rmSync(folder, { recursive: true });
  });

  const looksAreCheap = async () => {
    for (const [statement, values] of [
      ['selectDue', ['default', 100]],
      ['selectNextDue', ['["default","other"]']],
      ['claimJob', [10_000, 1]],
    ] as const) {
      const steps: { detail: string }[] = await dataSource.query(`explain query plan ${sql[statement]}`, [...values]);
      const plan = steps.map(({ detail }) => detail).join('\n');
      // By the index, from its first due row on, in its order: the limit ends it. What is read is what is taken.
      if (statement === 'claimJob') expect(plan).toBe('SEARCH stepping_job USING INTEGER PRIMARY KEY (rowid=?)');
      else expect(plan).toMatch(/SEARCH (stepping_job|j) USING (COVERING )?INDEX stepping_job_due \(queue=\? AND due_at/);
      expect(plan).not.toMatch(/SCAN (stepping_job|j)\b|TEMP B-TREE/);
    }
    expect((await store.nextDueInMs(['default', 'other'])).get('default')).toBe(0);
  };

  const fill = (gid: string, dueAt: string, finishedAt: string, status: number, queue: string) =>
    dataSource.query(`
      with recursive numbers (i) as (values (1) union all select i + 1 from numbers where i < ${MILLION})
      insert into stepping_job (gid, lease, due_at, created_at, finished_at, step, attempt, status, held, instance, queue, steps)
      select '${gid}-' || i, 1, ${dueAt}, 1, ${finishedAt}, 0, 1, ${status}, 0, 'i', '${queue}', '{"v":1,"steps":[]}' from numbers`);

  it(
    'read no more than they take beside a million finished jobs, without statistics and with them',
    async () => {
      await fill('done', 'null', '1', 2, 'default');
      await store.create(Array.from({ length: 1_000 }, (_, i) => aJob({ gid: `due-${i}` })));
      await looksAreCheap();
      await dataSource.query('analyze');
      await looksAreCheap();
    },
    BUILD_TIMEOUT_MS,
  );

  it(
    'read no more than they take beside a million due jobs of another queue, without statistics of them and with them',
    async () => {
      await fill('other', '1', 'null', 1, 'other');
      await looksAreCheap();
      await dataSource.query('analyze');
      await looksAreCheap();
      expect(await store.claimDue(aClaim({ limit: 100 }))).toHaveLength(100);
    },
    BUILD_TIMEOUT_MS,
  );
});

interface PlanNode {
  readonly 'Node Type': string;
  readonly 'Relation Name'?: string;
  readonly 'Index Name'?: string;
  readonly 'Actual Rows': number;
  readonly 'Actual Loops': number;
  readonly 'Shared Hit Blocks': number;
  readonly 'Shared Read Blocks': number;
  readonly Plans?: readonly PlanNode[];
}

interface Explained {
  readonly nodes: readonly PlanNode[];
  /** Read, all in all. */
  readonly pages: number;
  readonly mostRows: number;
  scansOf(index: string): string[];
}

function explained(plan: PlanNode): Explained {
  const under = (node: PlanNode): PlanNode[] => [node, ...(node.Plans ?? []).flatMap(under)];
  const nodes = under(plan);
  return {
    nodes,
    pages: plan['Shared Hit Blocks'] + plan['Shared Read Blocks'],
    mostRows: Math.max(...nodes.map((node) => node['Actual Rows'] * node['Actual Loops'])),
    scansOf: (index) => nodes.flatMap((node) => (node['Index Name'] === index ? [index] : [])),
  };
}
