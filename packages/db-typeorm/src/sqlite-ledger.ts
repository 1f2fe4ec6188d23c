import type { LedgerError, LedgerKey, LedgerRecord } from '@stepping/core';
import type { BoundedClaim, HeldKey, LedgerEntry, LedgerRow, LedgerTable } from '@stepping/core/db';
import type { SqliteConnection } from '@stepping/typeorm';
import { entryValues, errorText, recordOf, rowOf } from './ledger-rows.js';
import { explained } from './missing-table.js';
import { beginAttempt } from './sql/begin-attempt.js';
import { buryStep } from './sql/bury-step.js';
import { endAttempt } from './sql/end-attempt.js';
import { extendAttempt } from './sql/extend-attempt.js';
import { selectLedger } from './sql/select-ledger.js';
import { selectLedgerRow } from './sql/select-ledger-row.js';
import { sweepLedger } from './sql/sweep-ledger.js';
import type { SqliteFile } from './sqlite-file.js';
import { LEDGER, type Table } from './tables.js';

export class SqliteLedger implements LedgerTable {
  readonly #file: SqliteFile;
  readonly #table: Table;

  constructor(file: SqliteFile, table: Table) {
    this.#file = file;
    this.#table = table;
  }

  begin(claim: BoundedClaim): Promise<LedgerRow | undefined> {
    const { gid, instance, position, generation, token, leaseMs, maxAttempts } = claim;
    return this.#writing((connection) => {
      const values = [gid, instance, position, generation, token, leaseMs, maxAttempts];
      const begun = connection.prepare(beginAttempt(this.#table)).get(...values);
      const row = begun ?? connection.prepare(selectLedgerRow(this.#table)).get(gid, instance, position);
      return row && rowOf(row);
    });
  }

  async find({ gid, instance, position }: LedgerKey): Promise<LedgerRow | undefined> {
    const row = await this.#reading((connection) => connection.prepare(selectLedgerRow(this.#table)).get(gid, instance, position));
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
    const rows = await this.#reading((connection) => connection.prepare(selectLedger(this.#table)).all(gid, instance));
    return rows.map(recordOf);
  }

  deleteOld(olderThanMs: number, limit: number): Promise<number> {
    return this.#writing((connection) => connection.prepare(sweepLedger(this.#table)).run(olderThanMs, limit).changes);
  }

  #write(statement: (table: Table) => string, values: readonly unknown[]): Promise<boolean> {
    return this.#writing((connection) => connection.prepare(statement(this.#table)).run(...values).changes === 1);
  }

  #reading<R>(select: (connection: SqliteConnection) => R): Promise<R> {
    return this.#file.read(select).catch((error) => this.#fail(error));
  }

  #writing<R>(statement: (connection: SqliteConnection) => R): Promise<R> {
    return this.#file.write(statement).catch((error) => this.#fail(error));
  }

  async #fail(error: unknown): Promise<never> {
    throw explained(error, await this.#file.own.get(), LEDGER);
  }
}
