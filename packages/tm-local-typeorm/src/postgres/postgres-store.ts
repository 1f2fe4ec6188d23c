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
import { type FoundRow, firstLease, NO_STEPS, verdictByRow } from '@stepping/tm-local';
import { schemaOf } from '@stepping/typeorm';
import type { DataSource } from 'typeorm';
import { Claims } from '../claims.js';
import { isOf, type NativeTransaction, queryRunnerOf } from '../enlistment.js';
import { LaneBusy, leastBusy } from '../lane.js';
import { orRefused } from '../refused.js';
import { ServerStore, type ServerTraits } from '../server-store.js';
import { selectJobs } from '../sql/postgres/select-jobs.js';
import { countsByStatus, ROLLED_BACK, statusCode, statusMask } from '../status.js';
import { jobTable, type StoreSettings } from '../store-settings.js';
import { dbFromText, dbsFromText, dbsToText, errorToText } from '../stored-text.js';
import { int2Array, int4Array, int8Array, textArray } from './binary-array.js';
import { createJobs, LOCK_TIMEOUT_MS, setLockTimeout } from './create-jobs.js';
import { DueHints } from './due-hints.js';
import { enlistedPostgresStore } from './enlisted-postgres-store.js';
import type { PostgresRow, Send } from './postgres-lane.js';
import { MAX_CONNECTIONS, PostgresLanes, RESOLVE_TIMEOUT_MS } from './postgres-lanes.js';
import { claimedJob, foundRow, storedJob } from './postgres-rows.js';
import { type PostgresStatements, postgresStatements } from './postgres-statements.js';
import { assertSamePostgres } from './same-postgres.js';

/** Idle connections are probed after this: whoever listens for hints sends nothing, and would not notice a dead network for hours. Unit: ms. */
const KEEP_ALIVE_MS = 10_000;
/** For what surrounds a wait for a lock: getting a connection, the way there and back. Unit: ms. */
const ROUND_TRIP_MS = 1_000;
/** A row that is purged between two statements of R9's question is looked for again, so many times. */
const MAX_RESOLVE_ROUNDS = 4;
/** A row that comes to match between the compare and the look at it is compared again, so many times in all. */
const MAX_CHANGE_ROUNDS = 4;

/** What there is between start and stop. */
interface Opened {
  readonly own: DataSource;
  readonly sql: PostgresStatements;
  readonly lanes: PostgresLanes;
  readonly claims: Claims;
  readonly hints: DueHints;
  close(): Promise<void>;
}

const TRAITS: ServerTraits = {
  name: 'PostgreSQL',
  maxConnections: MAX_CONNECTIONS,
  extra: { keepAliveInitialDelayMillis: KEEP_ALIVE_MS },
  assertSame: assertSamePostgres,
};

/** Jobs in PostgreSQL, on connections of our own. */
export class PostgresStore extends ServerStore<Opened> implements TransactionStore {
  constructor(settings: StoreSettings) {
    super(settings, TRAITS);
  }

  protected open(own: DataSource): Opened {
    const sql = postgresStatements(jobTable(this.settings, this.settings.schema ?? schemaOf(own)));
    const lanes = new PostgresLanes(own);
    const claims = new Claims({
      async claim({ queue, limit, leaseMs }, from) {
        const values = [queue, limit, Math.round(leaseMs)];
        for (;;) {
          const rows = await (from === undefined
            ? lanes.claim.query(sql.claimJobs, values)
            : lanes.claim.query(sql.claimJobsFrom, [...values, from]));
          if (rows[0]?.[0] === null) continue; // all that was locked had been changed in that moment
          return { jobs: rows.map(claimedJob), latest: rows[0]?.at(-1) ?? undefined };
        }
      },
      peek: async (queue, before) => (await lanes.look.query(sql.peekDue, [queue, before]))[0]?.[0] ?? undefined,
    });
    const hints = new DueHints(own, sql.table);
    const close = async () => {
      await hints.stop();
      await lanes.close();
    };
    return { own, sql, lanes, claims, hints, close };
  }

  async create(jobs: readonly CreateJob[]): Promise<readonly CreateAnswer[]> {
    const { lanes, sql } = this.opened;
    if (jobs.length === 0) return [];
    return lanes.create.run((send) => createJobs(send, sql, jobs, LOCK_TIMEOUT_MS));
  }

  async createAlone(job: CreateJob, waitMs: number): Promise<CreateAnswer> {
    const { lanes, sql } = this.opened;
    const deadline = performance.now() + waitMs;
    const create = async (send: Send): Promise<readonly CreateAnswer[]> => {
      const lockTimeoutMs = deadline - performance.now();
      if (lockTimeoutMs < 1) return [{ outcome: 'locked' }];
      await setLockTimeout(send, lockTimeoutMs);
      return createJobs(send, sql, [job], lockTimeoutMs);
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
    const values = [
      textArray(saves.map(({ gid }) => gid)),
      int8Array(saves.map(({ lease }) => lease)),
      int4Array(saves.map(({ step }) => step)),
      int4Array(saves.map(({ attempt }) => attempt)),
      int2Array(saves.map(({ status }) => statusCode(status))),
      int2Array(saves.map(({ giveUp }) => Number(giveUp))),
      orNull(int8Array, saves, ({ dueInMs }) => (dueInMs === undefined ? null : Math.round(dueInMs))),
      orNull(textArray, saves, ({ queue }) => queue ?? null),
      orNull(textArray, saves, ({ error }) => errorToText(error)),
    ];
    if (saves.every(({ barrierDbs }) => barrierDbs === undefined)) {
      return savedOf(saves, await orRefused(leastBusy(lanes.save).query(sql.saveJobs, values)));
    }
    const dbs = textArray(saves.map(({ barrierDbs }) => dbsToText(barrierDbs)));
    return savedOf(saves, await orRefused(leastBusy(lanes.save).query(sql.saveJobsWithDbs, [...values, dbs])));
  }

  async extend(leases: readonly Lease[], leaseMs: number): Promise<ReadonlySet<string>> {
    const { lanes, sql } = this.opened;
    if (leases.length === 0) return new Set();
    const values = [...leaseValues(leases), Math.round(leaseMs)];
    const withinMs = leaseMs / 3;
    return gidsOf(await orRefused(lanes.extend(withinMs).run((send) => send(sql.extendLeases, values), withinMs)));
  }

  async change(changes: readonly Change[]): Promise<readonly ChangeAnswer[]> {
    const { lanes, sql } = this.opened;
    if (changes.length === 0) return [];
    const lane = changes.every(({ mayBeLost }) => mayBeLost) ? lanes.changeUnflushed : lanes.change;
    return lane.run(async (send) => {
      const answers = new Map<string, ChangeAnswer>();
      let pending = changes;
      for (let round = 1; pending.length > 0; round++) {
        const changing = send(sql.changeJobs, changeValues(pending));
        // Later rounds come after writes of this call.
        const leases = new Map((await (round === 1 ? orRefused(changing) : changing)).map(([gid, lease]) => [gid, Number(lease)]));
        for (const [gid, lease] of leases) answers.set(gid as string, { changed: true, lease });
        const others = pending.filter(({ gid }) => !leases.has(gid));
        if (others.length === 0) break;
        const rows = await send(sql.findOwners, [textArray(others.map(({ gid }) => gid))]);
        const owners = new Map(rows.map((row) => [row[0], foundRow(row)]));
        for (const { gid } of others) {
          const found = owners.get(gid);
          answers.set(gid, { changed: false, found: found && { status: found.status, instance: found.instance } });
        }
        // Changed by somebody between the two statements: what was found would not tell why it did not match.
        pending = round < MAX_CHANGE_ROUNDS ? others.filter((change) => matches(change, owners.get(change.gid))) : [];
      }
      return changes.map(({ gid }) => answers.get(gid) as ChangeAnswer);
    });
  }

  async claimDue(claim: { queue: string; limit: number; leaseMs: number }): Promise<readonly ClaimedJob[]> {
    return this.opened.claims.claimDue(claim);
  }

  async nextDueInMs(queues: readonly string[]): Promise<ReadonlyMap<string, number>> {
    const { lanes, sql } = this.opened;
    const rows = await lanes.look.query(sql.selectNextDue, [textArray(queues)]);
    return new Map(rows.map(([queue, ms]) => [queue as string, Math.max(0, Math.ceil(Number(ms)))]));
  }

  async resolve(gid: string, instance: string): Promise<InDoubtAnswer> {
    try {
      const { lanes, sql } = this.opened;
      return await leastBusy(lanes.resolve).run(async (send) => {
        for (let round = 0; round < MAX_RESOLVE_ROUNDS; round++) {
          const inserted = await send(sql.insertRolledBack, [gid, instance, ROLLED_BACK, NO_STEPS, firstLease()]);
          if (inserted.length > 0) return 'rolled-back';
          // The insert has seen that the key is there; what is there now, only a write tells (A5).
          const [row] = await send(sql.touchOwner, [gid]);
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
    const [row] = await lanes.look.query(sql.selectJob, [gid]);
    return row && storedJob(row);
  }

  async list(filter: StoreFilter): Promise<readonly StoredJob[]> {
    const { lanes, sql } = this.opened;
    const { text, values } = selectJobs(sql.table, filter);
    return (await lanes.operators.query({ name: undefined, text }, values)).map(storedJob);
  }

  async stats(): ReturnType<TransactionStore['stats']> {
    const { lanes, sql } = this.opened;
    return lanes.operators.run(async (send) => {
      const counts = await send(sql.countByStatus, []);
      const [oldest] = await send(sql.selectOldest, []);
      const [dueMs, preparedMs] = oldest ?? [];
      return {
        ...countsByStatus(new Map(counts.map(([status, jobs]) => [Number(status), Number(jobs)]))),
        oldestDueMs: Math.round(Number(dueMs ?? 0)),
        oldestPreparedMs: Math.round(Number(preparedMs ?? 0)),
      };
    });
  }

  async startPurge(purge: { finishedMsAgo: number; failedMsAgo: number; limit: number }): Promise<readonly PurgingJob[]> {
    const { lanes, sql } = this.opened;
    const values = [Math.round(purge.finishedMsAgo), Math.round(purge.failedMsAgo), purge.limit];
    const rows = await orRefused(lanes.operators.query(sql.startPurge, values));
    return rows.map(([gid, lease, db, dbs]) => ({
      gid: gid as string,
      lease: Number(lease),
      db: dbFromText(db ?? null),
      barrierDbs: dbsFromText(dbs ?? null),
    }));
  }

  async finishPurge(jobs: readonly Lease[]): Promise<number> {
    const { lanes, sql } = this.opened;
    if (jobs.length === 0) return 0;
    return (await orRefused(lanes.operators.query(sql.deletePurged, leaseValues(jobs)))).length;
  }

  onDue(listener: () => void): () => void {
    return this.opened.hints.onDue(listener);
  }

  hintDue(): void {
    this.openedNow?.hints.hint();
  }

  enlist(native: NativeTransaction): EnlistedStore | undefined {
    const queryRunner = queryRunnerOf(native);
    if (queryRunner === undefined || !isOf(this.settings.dataSource, queryRunner)) return undefined;
    return enlistedPostgresStore(queryRunner, this.opened.sql);
  }
}

function changeValues(changes: readonly Change[]): unknown[] {
  return [
    textArray(changes.map(({ gid }) => gid)),
    textArray(changes.map(({ instance }) => instance ?? null)),
    int4Array(changes.map(({ from }) => statusMask(from))),
    int2Array(changes.map(({ to }) => statusCode(to))),
    int2Array(changes.map(({ held }) => Number(held))),
    int8Array(changes.map(({ dueInMs }) => Math.round(dueInMs))),
    textArray(changes.map(({ queue }) => queue ?? null)),
    textArray(changes.map(({ error }) => errorToText(error))),
  ];
}

function matches({ instance, from }: Change, found: FoundRow | undefined): boolean {
  return found !== undefined && from.includes(found.status) && (instance === undefined || instance === found.instance);
}

function savedOf(saves: readonly Save[], [row]: readonly PostgresRow[]): ReadonlySet<string> {
  const [saved, gids] = row as PostgresRow;
  if (Number(saved) === saves.length) return new Set(saves.map(({ gid }) => gid));
  return new Set(JSON.parse(gids ?? '[]') as string[]);
}

function gidsOf(rows: readonly PostgresRow[]): ReadonlySet<string> {
  return new Set(rows.map(([gid]) => gid as string));
}

/** Null for a column that is null in every row: `unnest` fills up what is shorter, and neither side handles a thousand nulls. Checkpoints have three such columns. */
function orNull<W, V>(
  arrayOf: (list: readonly (V | null)[]) => Buffer,
  writes: readonly W[],
  value: (write: W) => V | null,
): Buffer | null {
  const list = writes.map(value);
  return list.every((one) => one === null) ? null : arrayOf(list);
}

function leaseValues(leases: readonly Lease[]): unknown[] {
  return [textArray(leases.map(({ gid }) => gid)), int8Array(leases.map(({ lease }) => lease))];
}
