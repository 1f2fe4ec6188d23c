import { AsyncLocalStorage } from 'node:async_hooks';
import type { StepContext, Stepping, SteppingPlugin } from '@stepping/core';
import { inTransaction, once, typeormDb, typeormTransaction } from '@stepping/db-typeorm';
import type { StorePlugin } from '@stepping/tm-local';
import { typeormStore } from '@stepping/tm-local-typeorm';
import { transactionalClone } from '@stepping/typeorm';
import type { DataSource, EntityManager, QueryRunner } from 'typeorm';
import { ConnectionLost } from './accidents.js';
import type { Body, Broken, Business, Database, Jobs, OnceBoundary, OnHandle, ProcessDatabase, UsersTransaction } from './databases.js';
import type { SqlDatabase } from './sql-databases.js';

/** A SQL database, as TypeORM and our packages for it use it. */
export function onTypeorm(sql: SqlDatabase): Database {
  return {
    jobs: jobsIn(sql),
    ledger: ledgerIn(sql),
    business: businessIn(sql),
    open: async (processName) => {
      const dataSource = await sql.open(processName);
      await commitsOfOnceThroughBoundary(dataSource);
      return new TypeormProcessDatabase(sql, processName, dataSource);
    },
    close: () => sql.close(),
  };
}

function jobsIn(sql: SqlDatabase): Jobs {
  return {
    clear: async () => void (await sql.run('delete from stepping_job')),
    async makeDue(gid, lease) {
      const ofLease = lease === undefined ? '' : ` and lease = ${lease}`;
      // A connection that was just killed may hold the row for a second more: time passes at the next look then.
      await unlessLocked(sql.run(`update stepping_job set due_at = ${sql.now} where gid = ? and due_at is not null${ofLease}`, [gid]));
    },
    age: () => unlessLocked(sql.run(`update stepping_job set finished_at = ${sql.longAgo} where finished_at is not null`)),
  };
}

function ledgerIn(sql: SqlDatabase): Database['ledger'] {
  return {
    clear: async () => void (await sql.run('delete from stepping_ledger')),
    makeDue: async (gid) =>
      void (await unlessLocked(sql.run(`update stepping_ledger set due_at = ${sql.now} where gid = ? and held = 1`, [gid]))),
  };
}

function businessIn(sql: SqlDatabase): Business {
  return {
    setUp: async () => void (await sql.run('create table deed (id varchar(200) primary key)')),
    clear: async () => void (await sql.run('delete from stepping_barrier')),
    age: () => unlessLocked(sql.run("update stepping_barrier set created_at = '2000-01-01 00:00:00'")),
    barriersOf: async (gid) => (await sql.run('select gid from stepping_barrier where gid = ?', [gid])).length,
    deedsOf: async (gid) => (await sql.run('select id from deed where id like ?', [`${gid}/%`])).map(({ id }) => id),
  };
}

async function unlessLocked(write: Promise<unknown>): Promise<boolean> {
  try {
    await write;
    return true;
  } catch (error) {
    if (/^(SQLITE_BUSY|ER_LOCK_WAIT_TIMEOUT)/.test((error as { code?: string }).code ?? '')) return false;
    throw error;
  }
}

class TypeormProcessDatabase implements ProcessDatabase {
  readonly #sql: SqlDatabase;
  readonly #processName: string;
  readonly #dataSource: DataSource;

  constructor(sql: SqlDatabase, processName: string, dataSource: DataSource) {
    this.#sql = sql;
    this.#processName = processName;
    this.#dataSource = dataSource;
  }

  get hasConnections(): boolean {
    return this.#sql.hasConnections;
  }

  storePlugin(): StorePlugin {
    return typeormStore({ dataSource: this.#dataSource });
  }

  dbPlugin(): SteppingPlugin {
    return typeormDb({ dataSource: this.#dataSource });
  }

  async inTransaction(stepping: Stepping, { gid, deed, begins, addSteps }: Body): Promise<void> {
    await inTransaction(stepping, { dataSource: this.#dataSource, gid }, async ({ queryRunner, job }) => {
      begins();
      await doDeed(queryRunner, deed);
      addSteps(job);
    });
  }

  async begin(deed: string): Promise<UsersTransaction> {
    const runner = this.#dataSource.createQueryRunner();
    await runner.startTransaction();
    await doDeed(runner, deed);
    return {
      handle: runner,
      transaction: typeormTransaction(runner),
      commit: () => runner.commitTransaction(),
      rollback: () => runner.rollbackTransaction(),
      async release() {
        if (runner.isTransactionActive && !runner.isReleased) await runner.rollbackTransaction().catch(() => {});
        await runner.release().catch(() => {});
      },
    };
  }

  async once(context: StepContext<any, any>, deed: string, { work, commit }: OnceBoundary): Promise<void> {
    await insideOnce.run(commit, () =>
      once(this.#dataSource, context, (manager) => work(() => doDeed(manager, deed), manager.queryRunner)),
    );
  }

  breakConnection(handle: unknown, call: string): Broken {
    return { error: new ConnectionLost(`The connection broke at ${call}`), ...this.#sql.breakConnection(handle as QueryRunner) };
  }

  cut(): Promise<void> {
    return this.#sql.cut(this.#processName, this.#dataSource);
  }

  async close(): Promise<void> {
    if (this.#dataSource.isInitialized) await this.#dataSource.destroy().catch(() => {});
  }
}

async function doDeed(transaction: QueryRunner | EntityManager, id: string): Promise<void> {
  await transaction.query(`insert into deed (id) values ('${id}')`);
}

const insideOnce = new AsyncLocalStorage<OnHandle>();

/** The commits of `once` go through the boundary; those of other transactions do already. */
async function commitsOfOnceThroughBoundary(users: DataSource): Promise<void> {
  const isSqlite = users.options.type === 'better-sqlite3';
  const dataSource = isSqlite ? (await transactionalClone(users)).dataSource : users;
  const createQueryRunner = dataSource.createQueryRunner.bind(dataSource);
  dataSource.createQueryRunner = (mode) => {
    const runner = createQueryRunner(mode);
    const commit = runner.commitTransaction.bind(runner);
    runner.commitTransaction = () => insideOnce.getStore()?.(commit, runner) ?? commit();
    return runner;
  };
}
