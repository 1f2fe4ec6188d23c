import type { DataSource } from 'typeorm';
import { LOCK_TIMEOUT_MS } from './create-jobs.js';
import { PostgresLane } from './postgres-lane.js';

/** All lanes, and the one of hints. */
export const MAX_CONNECTIONS = 14;

/** A write that takes longer is stuck. Far below any retention, so that a create that is sent again never lands after a purge (R7). Unit: ms. */
const STATEMENT_TIMEOUT_MS = 10_000;
/** Operators' questions may read the whole table. Unit: ms. */
const OPERATOR_TIMEOUT_MS = 300_000;
/** How long R9's question waits for the transaction that it asks about. Unit: ms. */
export const RESOLVE_TIMEOUT_MS = 2_000;

/**
 * Our connections by the kind of work, so that nothing waits for what may hang: a renewal of leases not for a save, a claim not for an operator. Each is opened when it is first needed: an
 * application that only starts jobs has three, one that runs them seven or eight.
 */
export class PostgresLanes {
  readonly claim: PostgresLane;
  /** Short reads, and the looks below the bound of claims. */
  readonly look: PostgresLane;
  readonly operators: PostgresLane;
  readonly save: readonly PostgresLane[];
  readonly create: PostgresLane;
  readonly change: PostgresLane;
  /** Changes that may be lost: the server answers before they are on its disk. */
  readonly changeUnflushed: PostgresLane;
  /** Starts of gids that are locked elsewhere: each of them waits. */
  readonly alone: readonly PostgresLane[];
  readonly resolve: readonly PostgresLane[];
  readonly #dataSource: DataSource;
  #extend: { readonly timeoutMs: number; readonly lane: PostgresLane } | undefined;

  constructor(dataSource: DataSource) {
    const lane = (settings: Record<string, string> = {}) =>
      new PostgresLane(dataSource, { statementTimeoutMs: STATEMENT_TIMEOUT_MS, settings });
    this.#dataSource = dataSource;
    this.claim = lane();
    this.look = lane();
    this.operators = new PostgresLane(dataSource, {
      statementTimeoutMs: OPERATOR_TIMEOUT_MS,
      settings: { plan_cache_mode: 'auto', enable_seqscan: 'on' },
    });
    this.save = [lane(), lane()];
    this.create = lane({ lock_timeout: `${LOCK_TIMEOUT_MS}ms` });
    this.change = lane();
    this.changeUnflushed = lane({ synchronous_commit: 'off' });
    // Waits for a lock are bounded by each call.
    this.alone = [0, 1].map(() => new PostgresLane(dataSource, { statementTimeoutMs: OPERATOR_TIMEOUT_MS }));
    this.resolve = [0, 1].map(() => lane({ lock_timeout: `${RESOLVE_TIMEOUT_MS}ms` }));
  }

  /** For the renewal of leases; the server gives up a statement after `timeoutMs`, always the same in practice. */
  extend(timeoutMs: number): PostgresLane {
    if (this.#extend?.timeoutMs !== timeoutMs) {
      void this.#extend?.lane.close();
      this.#extend = { timeoutMs, lane: new PostgresLane(this.#dataSource, { statementTimeoutMs: timeoutMs }) };
    }
    return this.#extend.lane;
  }

  async close(): Promise<void> {
    const { claim, look, operators, save, create, change, changeUnflushed, alone, resolve } = this;
    const lanes = [
      claim,
      look,
      operators,
      ...save,
      create,
      change,
      changeUnflushed,
      ...alone,
      ...resolve,
      ...(this.#extend ? [this.#extend.lane] : []),
    ];
    await Promise.all(lanes.map((lane) => lane.close()));
  }
}
