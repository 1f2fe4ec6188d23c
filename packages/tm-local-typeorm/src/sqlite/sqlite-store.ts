import { type InDoubtAnswer, SteppingError, type Turns } from '@stepping/core';
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
import { answerByRow, type FoundRow, firstLease, NO_STEPS, verdictByRow } from '@stepping/tm-local';
import {
  checkMigrations,
  fileOf,
  fileTurns,
  isBusy,
  isInMemory,
  ownDataSource,
  runMigrations,
  sqliteConnectionOf,
  untilNotBusy,
} from '@stepping/typeorm';
import type { DataSource } from 'typeorm';
import { isOf, type NativeTransaction, queryRunnerOf } from '../enlistment.js';
import { selectJobs } from '../sql/sqlite/select-jobs.js';
import { countsByStatus, ROLLED_BACK, statusCode, statusMask, statusOf } from '../status.js';
import { assertInitialized, jobTable, migrationsOf, type StoreSettings } from '../store-settings.js';
import { dbsToText, errorToText } from '../stored-text.js';
import { enlistedSqliteStore } from './enlisted-sqlite-store.js';
import { PurgeScan } from './purge-scan.js';
import { claimedJob, type DueRow, insertValues, type JobRow, reviveValues, storedJob } from './sqlite-rows.js';
import { type SqliteStatements, sqliteStatements } from './sqlite-statements.js';
import { MAX_ROWS, SqliteWriter } from './sqlite-writer.js';
import { idRanges } from './table-scan.js';

/** How long R9's question waits for the transaction that it asks about. Unit: ms. */
const RESOLVE_TIMEOUT_MS = 2_000;
/** For the change to WAL, which needs the file for itself. Unit: ms. */
const OPEN_TIMEOUT_MS = 5_000;

/** Jobs in a SQLite file, written on a connection of our own. */
export class SqliteStore implements TransactionStore {
  readonly maxBatch = MAX_ROWS;
  readonly turns: Turns;
  readonly #settings: StoreSettings;
  readonly #sql: SqliteStatements;
  #own: DataSource | undefined;
  #openWriter: SqliteWriter | undefined;
  #purgeScan: PurgeScan | undefined;

  constructor(settings: StoreSettings) {
    this.#settings = settings;
    this.#sql = sqliteStatements(jobTable(settings, undefined));
    this.turns = fileTurns(settings.dataSource);
  }

  async start(): Promise<void> {
    this.#own = await this.#connect();
    try {
      const prepare = this.#settings.migrate ? runMigrations : checkMigrations;
      await prepare(this.#own, migrationsOf(this.#settings));
    } catch (error) {
      await this.stop();
      throw this.#startError(error);
    }
    this.#openWriter = new SqliteWriter({ connection: sqliteConnectionOf(this.#own), turns: this.turns });
  }

  async migrate(): Promise<void> {
    const own = await this.#connect();
    try {
      await runMigrations(own, migrationsOf(this.#settings));
    } catch (error) {
      throw this.#startError(error);
    } finally {
      await own.destroy();
    }
  }

  async stop(): Promise<void> {
    const own = this.#own;
    this.#own = undefined;
    this.#openWriter = undefined;
    this.#purgeScan = undefined;
    await own?.destroy();
  }

  create(jobs: readonly CreateJob[]): Promise<readonly CreateAnswer[]> {
    return this.#writeEach(jobs, (job) => this.#create(job));
  }

  async createAlone(job: CreateJob, waitMs: number): Promise<CreateAnswer> {
    try {
      return await this.#writer.write(() => this.#create(job), waitMs);
    } catch (error) {
      if (SteppingError.is(error, 'STORE_UNAVAILABLE')) return { outcome: 'locked' };
      throw error;
    }
  }

  async save(saves: readonly Save[]): Promise<ReadonlySet<string>> {
    const checkpoint = this.#writer.prepare(this.#sql.saveCheckpoint);
    const statement = this.#writer.prepare(this.#sql.saveJob);
    return this.#matching(saves, (save) => {
      const { gid, lease, step, attempt } = save;
      if (isCheckpoint(save)) return checkpoint.run(step, attempt, gid, lease, step, attempt);
      return statement.run({
        gid,
        lease,
        step,
        attempt,
        status: statusCode(save.status),
        giveUp: Number(save.giveUp),
        dueInMs: save.dueInMs === undefined ? null : Math.round(save.dueInMs),
        queue: save.queue ?? null,
        error: errorToText(save.error),
        dbs: dbsToText(save.barrierDbs),
      });
    });
  }

  async extend(leases: readonly Lease[], leaseMs: number): Promise<ReadonlySet<string>> {
    const statement = this.#writer.prepare(this.#sql.extendLease);
    return this.#matching(leases, ({ gid, lease }) => statement.run(Math.round(leaseMs), gid, lease), leaseMs / 3);
  }

  async change(changes: readonly Change[]): Promise<readonly ChangeAnswer[]> {
    const statement = this.#writer.prepare(this.#sql.changeJob);
    return this.#writeEach(changes, (change): ChangeAnswer => {
      const row: { lease: number } | undefined = statement.get({
        gid: change.gid,
        instance: change.instance ?? null,
        fromMask: statusMask(change.from),
        status: statusCode(change.to),
        held: Number(change.held),
        dueInMs: Math.round(change.dueInMs),
        queue: change.queue ?? null,
        error: errorToText(change.error),
      });
      if (row !== undefined) return { changed: true, lease: row.lease };
      const found = this.#owner(change.gid);
      return { changed: false, found: found && { status: found.status, instance: found.instance } };
    });
  }

  async claimDue({ queue, limit, leaseMs }: { queue: string; limit: number; leaseMs: number }): Promise<readonly ClaimedJob[]> {
    const select = this.#writer.prepare(this.#sql.selectDue);
    const claim = this.#writer.prepare(this.#sql.claimJob);
    return this.#upTo(limit, (rows) => {
      const due: DueRow[] = select.all(queue, rows);
      for (const { id } of due) claim.run(Math.round(leaseMs), id);
      return due.map(claimedJob);
    });
  }

  nextDueInMs(queues: readonly string[]): Promise<ReadonlyMap<string, number>> {
    return this.#writer.read(() => {
      const rows: { queue: string; due_in_ms: number }[] = this.#writer.prepare(this.#sql.selectNextDue).all(JSON.stringify(queues));
      return new Map(rows.map((row) => [row.queue, Math.max(0, row.due_in_ms)]));
    });
  }

  async resolve(gid: string, instance: string): Promise<InDoubtAnswer> {
    try {
      // The write lock is what waits for an uncommitted row: once we have it, nobody has one.
      return await this.#writer.write(() => {
        const insert = this.#writer.prepare(this.#sql.insertRolledBack);
        if (insert.run(gid, instance, ROLLED_BACK, NO_STEPS, firstLease()).changes === 1) return 'rolled-back';
        return verdictByRow(instance, this.#owner(gid) as FoundRow);
      }, RESOLVE_TIMEOUT_MS);
    } catch {
      return 'unknown';
    }
  }

  find(gid: string): Promise<StoredJob | undefined> {
    return this.#writer.read(() => {
      const row: JobRow | undefined = this.#writer.prepare(this.#sql.selectJob).get(gid);
      return row && storedJob(row);
    });
  }

  list(filter: StoreFilter): Promise<readonly StoredJob[]> {
    const { text, values } = selectJobs(this.#sql.table, filter);
    return this.#writer.read(() => Array.from<JobRow, StoredJob>(this.#writer.prepare(text).all(...values), storedJob));
  }

  async stats(): ReturnType<TransactionStore['stats']> {
    const writer = this.#writer;
    const counts = new Map<number, number>();
    for await (const range of idRanges(writer, this.#sql)) {
      const rows: { status: number; jobs: number }[] = await writer.read(() => writer.prepare(this.#sql.countByStatus).all(range));
      for (const { status, jobs } of rows) counts.set(status, (counts.get(status) ?? 0) + jobs);
    }
    const oldest: { due_ms: number | null; prepared_ms: number | null } = await writer.read(() =>
      writer.prepare(this.#sql.selectOldest).get(),
    );
    return { ...countsByStatus(counts), oldestDueMs: oldest.due_ms ?? 0, oldestPreparedMs: oldest.prepared_ms ?? 0 };
  }

  async startPurge(purge: { finishedMsAgo: number; failedMsAgo: number; limit: number }): Promise<readonly PurgingJob[]> {
    this.#purgeScan ??= new PurgeScan(this.#writer, this.#sql);
    return this.#purgeScan.start(purge);
  }

  async finishPurge(jobs: readonly Lease[]): Promise<number> {
    const statement = this.#writer.prepare(this.#sql.deletePurged);
    return (await this.#matching(jobs, ({ gid, lease }) => statement.run(gid, lease))).size;
  }

  enlist(native: NativeTransaction): EnlistedStore | undefined {
    const queryRunner = queryRunnerOf(native);
    if (queryRunner === undefined) return undefined;
    if (isOf(this.#settings.dataSource, queryRunner)) return enlistedSqliteStore(queryRunner, this.#sql);
    if (queryRunner.dataSource.options.type !== 'better-sqlite3' || fileTurns(queryRunner.dataSource).key !== this.turns.key)
      return undefined;
    throw new SteppingError(
      'STORE_REFUSED',
      `The transaction and the store are in the same file, ${fileOf(this.#settings.dataSource)}, but of two DataSources: the store would wait for the transaction, which waits for the store. Give both the same DataSource.`,
    );
  }

  get #writer(): SqliteWriter {
    if (this.#openWriter !== undefined) return this.#openWriter;
    throw new SteppingError('NOT_STARTED', 'The store is not started, or stopped already. Call `await stepping.start()` first.');
  }

  async #connect(): Promise<DataSource> {
    const { dataSource } = this.#settings;
    if (isInMemory(dataSource)) {
      throw new SteppingError(
        'STORE_REFUSED',
        'A SQLite database in memory loses every job with its process, and only one connection sees it. Name a file as `database`, or use memoryStore() in tests.',
      );
    }
    assertInitialized(this.#settings);
    const own = ownDataSource(dataSource, { poolSize: 1 });
    try {
      await own.initialize();
      // Readers and the writer do not wait for each other. Kept in the file.
      await untilNotBusy(() => sqliteConnectionOf(own).pragma('journal_mode = WAL'), OPEN_TIMEOUT_MS);
      return own;
    } catch (cause) {
      if (own.isInitialized) await own.destroy();
      throw new SteppingError(
        'STORE_UNAVAILABLE',
        `The SQLite file of the store, ${fileOf(dataSource)}, cannot be opened. See the cause.`,
        { cause },
      );
    }
  }

  #startError(cause: unknown): unknown {
    if (SteppingError.is(cause)) return cause;
    const file = fileOf(this.#settings.dataSource);
    if (isBusy(cause)) return new SteppingError('STORE_UNAVAILABLE', `Somebody else keeps the SQLite file ${file} locked.`, { cause });
    return new SteppingError('STORE_REFUSED', `SQLite refused the store's tables in ${file}. See the cause.`, { cause });
  }

  /** In the write transaction of the caller. */
  #create(job: CreateJob): CreateAnswer {
    if (this.#writer.prepare(this.#sql.insertJob).get(...insertValues(job)) !== undefined) return { outcome: 'stored', lease: job.lease };
    const found = this.#owner(job.gid) as FoundRow;
    const answer = answerByRow(job, found);
    if (answer !== 'revive') return answer;
    this.#writer.prepare(this.#sql.reviveJob).get(...reviveValues(job, found.lease));
    return { outcome: 'stored', lease: found.lease + 1 };
  }

  #owner(gid: string): FoundRow | undefined {
    const row: { instance: string; status: number; lease: number } | undefined = this.#writer.prepare(this.#sql.findOwner).get(gid);
    return row && { ...row, status: statusOf(row.status) };
  }

  /** Takes rows in write transactions of up to {@link MAX_ROWS} each, until there are no more. */
  async #upTo<R>(limit: number, take: (rows: number) => R[]): Promise<R[]> {
    const taken: R[] = [];
    while (taken.length < limit) {
      const rows = Math.min(limit - taken.length, MAX_ROWS);
      try {
        const batch = await this.#writer.write(() => take(rows));
        taken.push(...batch);
        if (batch.length < rows) break;
      } catch (error) {
        if (taken.length === 0) throw error;
        break; // what was taken is the caller's already
      }
    }
    return taken;
  }

  async #matching<W extends Lease>(
    writes: readonly W[],
    run: (write: W) => { changes: number },
    waitMs?: number,
  ): Promise<ReadonlySet<string>> {
    const matched = await this.#writeEach(writes, (write) => run(write).changes === 1, waitMs);
    return new Set(writes.filter((_, i) => matched[i]).map(({ gid }) => gid));
  }

  /** One write transaction for up to {@link MAX_ROWS} of them. */
  async #writeEach<W, A>(writes: readonly W[], run: (write: W) => A, waitMs?: number): Promise<A[]> {
    const answers: A[] = [];
    for (let i = 0; i < writes.length; i += MAX_ROWS) {
      try {
        answers.push(...(await this.#writer.write(() => writes.slice(i, i + MAX_ROWS).map(run), waitMs)));
      } catch (error) {
        // "Refused" and "unavailable" promise that nothing of the call was written.
        throw i === 0 ? error : new Error(`The first ${i} of ${writes.length} rows were written, the others were not`, { cause: error });
      }
    }
    return answers;
  }
}

/** A job that goes on under the same lease, in the same queue. */
function isCheckpoint({ status, giveUp, dueInMs, queue, error, barrierDbs }: Save): boolean {
  return (
    status === 'submitted' && !giveUp && dueInMs === undefined && queue === undefined && error === undefined && barrierDbs === undefined
  );
}
