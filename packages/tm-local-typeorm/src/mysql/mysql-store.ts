import type { InDoubtAnswer } from '@stepping/core';
import type {
  Change,
  ChangeAnswer,
  ClaimedJob,
  CreateAnswer,
  CreateJob,
  EnlistedStore,
  Lease,
  PurgingJob,
  Save,
  StoredJob,
  StoreFilter,
  TransactionStore,
} from '@stepping/tm-local';
import { firstLease, NO_STEPS, verdictByRow } from '@stepping/tm-local';
import { isUniqueViolation, quoteName, schemaOf } from '@stepping/typeorm';
import type { DataSource } from 'typeorm';
import { type Claim, Claims } from '../claims.js';
import { isOf, type NativeTransaction, queryRunnerOf } from '../enlistment.js';
import { LaneBusy, leastBusy } from '../lane.js';
import { orRefused } from '../refused.js';
import { ServerStore, type ServerTraits } from '../server-store.js';
import { selectJobs } from '../sql/mysql/select-jobs.js';
import { countsByStatus, PREPARED, ROLLED_BACK, SUBMITTED, statusCode } from '../status.js';
import { jobTable, type StoreSettings } from '../store-settings.js';
import { dbFromText, dbsFromText, errorToText } from '../stored-text.js';
import { createJobs } from './create-jobs.js';
import { enlistedMysqlStore } from './enlisted-mysql-store.js';
import { again, type MysqlRow, type MysqlSend } from './mysql-lane.js';
import { MAX_CONNECTIONS, MysqlLanes, RESOLVE_TIMEOUT_MS } from './mysql-lanes.js';
import { batch, claimedJob, foundRow, hasTexts, leaseRow, saveRow, saveRowWithTexts, storedJob } from './mysql-rows.js';
import { type MysqlStatements, mysqlStatements } from './mysql-statements.js';
import { assertSameMysql } from './same-mysql.js';

/** For what surrounds a wait for a lock, which is in whole seconds: the rest of one, getting a connection, the way there and back. Unit: ms. */
const ROUND_TRIP_MS = 2_500;
/** A row that is purged between two statements of R9's question is looked for again, so many times. */
const MAX_RESOLVE_ROUNDS = 4;

/** What there is between start and stop. */
interface Opened {
  readonly own: DataSource;
  readonly sql: MysqlStatements;
  readonly lanes: MysqlLanes;
  readonly claims: Claims;
  close(): Promise<void>;
}

const TRAITS: ServerTraits = { name: 'MariaDB or MySQL', maxConnections: MAX_CONNECTIONS, assertSame: assertSameMysql };

/** Jobs in MariaDB or MySQL, on connections of our own. They have no way to tell other processes of due jobs: those find them by their poll. */
export class MysqlStore extends ServerStore<Opened> implements TransactionStore {
  constructor(settings: StoreSettings) {
    super(settings, TRAITS);
  }

  protected open(own: DataSource): Opened {
    const table = jobTable(this.settings, this.settings.schema ?? schemaOf(own));
    const sql = mysqlStatements(table, quoteName('mysql', `${this.settings.tablePrefix}job_due`));
    const lanes = new MysqlLanes(own);
    const claims = new Claims({
      claim: (claim, from) => lanes.claim.run((send) => claimDue(send, sql, claim, from)),
      peek: async (queue, before) => (await lanes.look.run((send) => send.query(sql.peekDue, [queue, before]))).rows[0]?.[0],
    });
    return { own, sql, lanes, claims, close: () => lanes.close() };
  }

  async create(jobs: readonly CreateJob[]): Promise<readonly CreateAnswer[]> {
    const { lanes, sql } = this.opened;
    if (jobs.length === 0) return [];
    return lanes.create.run((send) => createJobs(send, sql, jobs));
  }

  async createAlone(job: CreateJob, waitMs: number): Promise<CreateAnswer> {
    const { lanes, sql } = this.opened;
    const deadline = performance.now() + waitMs;
    const create = async (send: MysqlSend): Promise<readonly CreateAnswer[]> => {
      const seconds = Math.ceil((deadline - performance.now()) / 1_000);
      if (seconds < 1) return [{ outcome: 'locked' }];
      await send.query('set session innodb_lock_wait_timeout = ?', [seconds]);
      return createJobs(send, sql, [job]);
    };
    try {
      const [answer] = await leastBusy(lanes.alone).run(create, waitMs + ROUND_TRIP_MS);
      return answer as CreateAnswer;
    } catch (error) {
      if (error instanceof LaneBusy) return { outcome: 'locked' };
      throw error;
    }
  }

  async save(saves: readonly Save[]): Promise<ReadonlySet<string>> {
    const { lanes, sql } = this.opened;
    if (saves.length === 0) return new Set();
    const write = (send: MysqlSend, some: readonly Save[]) =>
      some.some(hasTexts)
        ? send.execute(sql.saveJobsWithTexts, [batch(some, saveRowWithTexts)])
        : send.execute(sql.saveJobs, [batch(some, saveRow)]);
    return leastBusy(lanes.save).transaction(async (send) => {
      if ((await write(send, saves)).affected === saves.length) return gidsOf(saves);
      // The answer does not say which, and a look afterwards could not tell my write from that of a rival. So once more, with a look that locks.
      await send.query('rollback');
      const { rows } = await send.execute(sql.lockSaveable, [batch(saves, saveRow)]);
      const matching = new Set(rows.map(([gid]) => gid as string));
      if (matching.size > 0)
        await write(
          send,
          saves.filter(({ gid }) => matching.has(gid)),
        );
      return matching;
    });
  }

  async extend(leases: readonly Lease[], leaseMs: number): Promise<ReadonlySet<string>> {
    const { lanes, sql } = this.opened;
    if (leases.length === 0) return new Set();
    const withinMs = leaseMs / 3;
    return lanes.extend(withinMs).run(async (send) => {
      const rows = batch(leases, leaseRow);
      const { affected } = await orRefused(again(() => send.execute(sql.extendLeases, [rows, Math.round(leaseMs)])));
      if (affected === leases.length) return gidsOf(leases);
      // Fencing numbers only grow: who is found now was extended.
      return new Set((await send.execute(sql.findLeases, [rows])).rows.map(([gid]) => gid as string));
    }, withinMs);
  }

  async change(changes: readonly Change[]): Promise<readonly ChangeAnswer[]> {
    const { lanes, sql } = this.opened;
    if (changes.length === 0) return [];
    return lanes.change.transaction(async (send) => {
      const { rows } = await send.execute(sql.lockOwners, [batch(changes, ({ gid }) => [gid])]);
      const owners = new Map(rows.map((row) => [row[0] as string, foundRow(row)]));
      const matching = changes.filter(({ gid, instance, from }) => {
        const found = owners.get(gid);
        return found !== undefined && from.includes(found.status) && (instance === undefined || instance === found.instance);
      });
      if (matching.length > 0) await send.execute(sql.changeJobs, [batch(matching, changeRow)]);
      const changed = new Set(matching);
      return changes.map((change): ChangeAnswer => {
        const found = owners.get(change.gid);
        if (found === undefined) return { changed: false, found: undefined };
        if (changed.has(change)) return { changed: true, lease: found.lease + 1 };
        return { changed: false, found: { status: found.status, instance: found.instance } };
      });
    });
  }

  async claimDue(claim: Claim): Promise<readonly ClaimedJob[]> {
    return this.opened.claims.claimDue(claim);
  }

  async nextDueInMs(queues: readonly string[]): Promise<ReadonlyMap<string, number>> {
    const { lanes, sql } = this.opened;
    if (queues.length === 0) return new Map();
    const values = queues.flatMap((queue) => [queue, queue]);
    const { rows } = await lanes.look.run((send) => send.query(sql.selectNextDue(queues.length), values));
    return new Map(rows.map(([queue, ms]) => [queue as string, Math.max(0, Number(ms))]));
  }

  async resolve(gid: string, instance: string): Promise<InDoubtAnswer> {
    try {
      const { lanes, sql } = this.opened;
      return await leastBusy(lanes.resolve).run(async (send) => {
        for (let round = 0; round < MAX_RESOLVE_ROUNDS; round++) {
          if (await inserted(send, sql.insertRolledBack, [gid, instance, ROLLED_BACK, NO_STEPS, firstLease()])) return 'rolled-back';
          // The key is there; whose it is, only a look tells that waits for whoever writes it now (A5).
          const [row] = (await send.execute(sql.findOwnerNow, [gid])).rows;
          if (row !== undefined) return verdictByRow(instance, foundRow(row));
        }
        return 'unknown';
      }, RESOLVE_TIMEOUT_MS + ROUND_TRIP_MS);
    } catch {
      return 'unknown';
    }
  }

  async find(gid: string): Promise<StoredJob | undefined> {
    const { lanes, sql } = this.opened;
    const [row] = (await lanes.look.run((send) => send.execute(sql.selectJob, [gid]))).rows;
    return row && storedJob(row);
  }

  async list(filter: StoreFilter): Promise<readonly StoredJob[]> {
    const { text, values } = selectJobs(this.opened.sql.table, filter);
    return (await this.#read(text, values)).map(storedJob);
  }

  async stats(): ReturnType<TransactionStore['stats']> {
    const rows = await this.#read(this.opened.sql.selectStats, []);
    const oldest = (status: number, column: number) => Math.max(0, Number(rows.find((row) => Number(row[0]) === status)?.[column] ?? 0));
    return {
      ...countsByStatus(new Map(rows.map(([status, jobs]) => [Number(status), Number(jobs)]))),
      oldestDueMs: oldest(SUBMITTED, 2),
      oldestPreparedMs: oldest(PREPARED, 3),
    };
  }

  async startPurge(purge: { finishedMsAgo: number; failedMsAgo: number; limit: number }): Promise<readonly PurgingJob[]> {
    const { lanes, sql } = this.opened;
    const ages = [Math.round(purge.failedMsAgo), Math.round(purge.finishedMsAgo)];
    return lanes.operators.transaction(async (send) => {
      const found = await send.query(sql.selectPurgeable, [...ages, purge.limit]);
      if (found.rows.length === 0) return [];
      const { rows } = await send.query(sql.lockPurgeable, [found.rows.map(([gid]) => gid), ...ages]);
      if (rows.length > 0) await send.query(sql.startPurge, [rows.map(([gid]) => gid)]);
      return rows.map(([gid, lease, db, dbs]) => ({ gid, lease: Number(lease) + 1, db: dbFromText(db), barrierDbs: dbsFromText(dbs) }));
    });
  }

  async finishPurge(jobs: readonly Lease[]): Promise<number> {
    const { lanes, sql } = this.opened;
    if (jobs.length === 0) return 0;
    const { affected } = await lanes.operators.transaction((send) => send.execute(sql.deletePurged, [batch(jobs, leaseRow)]));
    return affected;
  }

  enlist(native: NativeTransaction): EnlistedStore | undefined {
    const queryRunner = queryRunnerOf(native);
    if (queryRunner === undefined || !isOf(this.settings.dataSource, queryRunner)) return undefined;
    return enlistedMysqlStore(queryRunner, this.opened.sql);
  }

  async #read(text: string, values: readonly unknown[]): Promise<readonly MysqlRow[]> {
    return (await this.opened.lanes.operators.transaction((send) => send.query(text, values))).rows;
  }
}

function gidsOf(entries: readonly { readonly gid: string }[]): ReadonlySet<string> {
  return new Set(entries.map(({ gid }) => gid));
}

function changeRow({ gid, to, held, dueInMs, queue, error }: Change): readonly (string | number | null)[] {
  return [gid, statusCode(to), Number(held), Math.round(dueInMs), queue ?? null, errorToText(error)];
}

/** Two trips: one that locks, one that claims and commits. */
async function claimDue(send: MysqlSend, sql: MysqlStatements, { queue, limit, leaseMs }: Claim, from: string | undefined) {
  try {
    const { rows } = await (from === undefined
      ? send.query(sql.selectDue, [queue, limit])
      : send.query(sql.selectDueFrom, [queue, from, limit]));
    if (rows.length === 0) await send.query('rollback');
    else await send.query(`${sql.claimJobs}; commit`, [Math.round(leaseMs), rows.map(([gid]) => gid)]);
    return { jobs: rows.map(claimedJob), latest: rows.at(-1)?.at(-1) };
  } catch (error) {
    await send.query('rollback').catch(() => {}); // the connection is given up, and with it the transaction
    throw error;
  }
}

async function inserted(send: MysqlSend, statement: string, values: Parameters<MysqlSend['execute']>[1]): Promise<boolean> {
  try {
    await again(() => send.execute(statement, values));
    return true;
  } catch (error) {
    if (isUniqueViolation(error)) return false;
    throw error;
  }
}
