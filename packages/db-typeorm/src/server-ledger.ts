import type { LedgerError, LedgerKey, LedgerRecord } from '@stepping/core';
import type { BoundedClaim, HeldKey, LedgerEntry, LedgerRow, LedgerTable } from '@stepping/core/db';
import type { DataSource } from 'typeorm';
import { entryValues, errorText, recordOf, rowOf } from './ledger-rows.js';
import { explained } from './missing-table.js';
import type { OwnConnections } from './own-connections.js';
import type { Answer, Send } from './send.js';
import { buryStep } from './sql/bury-step.js';
import { endAttempt } from './sql/end-attempt.js';
import { extendAttempt } from './sql/extend-attempt.js';
import { selectLedger } from './sql/select-ledger.js';
import { selectLedgerRow } from './sql/select-ledger-row.js';
import { sweepLedger } from './sql/sweep-ledger.js';
import { LEDGER, ledgerTableOf, type Table } from './tables.js';

/** The ledger of a database on a server, over a small pool of our own. */
export abstract class ServerLedger implements LedgerTable {
  readonly #own: OwnConnections;

  constructor(own: OwnConnections) {
    this.#own = own;
  }

  protected abstract readonly send: Send;
  protected abstract beginOn(own: DataSource, table: Table, claim: BoundedClaim): Promise<LedgerRow | undefined>;

  begin(claim: BoundedClaim): Promise<LedgerRow | undefined> {
    return this.#on((own, table) => this.beginOn(own, table, claim));
  }

  async find({ gid, instance, position }: LedgerKey): Promise<LedgerRow | undefined> {
    const [row] = (await this.#run(selectLedgerRow, [gid, instance, position])).rows;
    return row && rowOf(row);
  }

  extend({ gid, instance, position, token }: HeldKey, leaseMs: number): Promise<boolean> {
    return this.#write(extendAttempt, [leaseMs, gid, instance, position, token]);
  }

  end({ gid, instance, position, token }: HeldKey, entry: LedgerEntry): Promise<boolean> {
    return this.#write(endAttempt, [...entryValues(entry), gid, instance, position, token]);
  }

  bury({ gid, instance, position, token }: HeldKey, seen: LedgerRow, error: LedgerError | undefined): Promise<boolean> {
    const before = [seen.generation, seen.attempts, seen.token, Number(seen.held)];
    return this.#write(buryStep, [token, errorText(error), gid, instance, position, ...before]);
  }

  async read(gid: string, instance: string): Promise<readonly LedgerRecord[]> {
    return (await this.#run(selectLedger, [gid, instance])).rows.map(recordOf);
  }

  async deleteOld(olderThanMs: number, limit: number): Promise<number> {
    return (await this.#run(sweepLedger, [olderThanMs, limit])).affected;
  }

  async #write(statement: (table: Table) => string, values: readonly unknown[]): Promise<boolean> {
    return (await this.#run(statement, values)).affected === 1;
  }

  #run(statement: (table: Table) => string, values: readonly unknown[]): Promise<Answer> {
    return this.#on((own, table) => this.send(own, statement(table), values));
  }

  async #on<R>(work: (own: DataSource, table: Table) => Promise<R>): Promise<R> {
    const own = await this.#own.get();
    try {
      return await work(own, ledgerTableOf(own));
    } catch (error) {
      throw explained(error, own, LEDGER);
    }
  }
}
