import type { DataSource } from 'typeorm';
import { MysqlLane } from './mysql-lane.js';

/** All lanes. */
export const MAX_CONNECTIONS = 12;

/** A write that takes longer is stuck. Far below any retention, so that a create that is sent again never lands after a purge (R7). Unit: ms. */
const STATEMENT_TIMEOUT_MS = 10_000;
/** Operators' questions may read the whole table. Unit: ms. */
const OPERATOR_TIMEOUT_MS = 300_000;
/** How long a batch waits for gids that are uncommitted elsewhere: the shortest that MySQL knows. Unit: ms. */
const CREATE_LOCK_TIMEOUT_MS = 1_000;
/** How long R9's question waits for the transaction that it asks about. Unit: ms. */
export const RESOLVE_TIMEOUT_MS = 2_000;

const WRITE = { statementTimeoutMs: STATEMENT_TIMEOUT_MS, lockTimeoutMs: STATEMENT_TIMEOUT_MS };

/**
 * Our connections by the kind of work, so that nothing waits for what may hang: a renewal of leases not for a save, a claim not for an operator. Each is opened when it is first needed.
 * Those that write in several statements have no autocommit, which saves them a trip for each transaction.
 */
export class MysqlLanes {
  readonly claim: MysqlLane;
  /** Short reads. */
  readonly look: MysqlLane;
  readonly operators: MysqlLane;
  readonly save: readonly MysqlLane[];
  readonly create: MysqlLane;
  readonly change: MysqlLane;
  /** Starts of gids that are locked elsewhere: each of them waits. */
  readonly alone: readonly MysqlLane[];
  readonly resolve: readonly MysqlLane[];
  readonly #dataSource: DataSource;
  #extend: { readonly timeoutMs: number; readonly lane: MysqlLane } | undefined;

  constructor(dataSource: DataSource) {
    const lane = (settings: { lockTimeoutMs?: number; statementTimeoutMs?: number; autocommit?: boolean } = {}) =>
      new MysqlLane(dataSource, { ...WRITE, ...settings });
    this.#dataSource = dataSource;
    this.claim = lane({ autocommit: false });
    this.look = lane();
    this.operators = lane({ statementTimeoutMs: OPERATOR_TIMEOUT_MS, autocommit: false });
    this.save = [lane({ autocommit: false }), lane({ autocommit: false })];
    this.create = lane({ lockTimeoutMs: CREATE_LOCK_TIMEOUT_MS });
    this.change = lane({ autocommit: false });
    // Waits for a lock are bounded by each call.
    this.alone = [0, 1].map(() => lane({ statementTimeoutMs: OPERATOR_TIMEOUT_MS }));
    this.resolve = [0, 1].map(() => lane({ lockTimeoutMs: RESOLVE_TIMEOUT_MS }));
  }

  /** For the renewal of leases, given up after `timeoutMs`, always the same in practice. */
  extend(timeoutMs: number): MysqlLane {
    if (this.#extend?.timeoutMs !== timeoutMs) {
      void this.#extend?.lane.close();
      this.#extend = { timeoutMs, lane: new MysqlLane(this.#dataSource, { statementTimeoutMs: timeoutMs, lockTimeoutMs: timeoutMs }) };
    }
    return this.#extend.lane;
  }

  async close(): Promise<void> {
    const { claim, look, operators, save, create, change, alone, resolve } = this;
    const lanes = [claim, look, operators, ...save, create, change, ...alone, ...resolve, ...(this.#extend ? [this.#extend.lane] : [])];
    await Promise.all(lanes.map((lane) => lane.close()));
  }
}
