import type { BoundedClaim, LedgerRow } from '@stepping/core/db';
import { rowOf } from './ledger-rows.js';
import { explained } from './missing-table.js';
import { beginAttempt } from './sql/begin-attempt.js';
import { selectLedgerRow } from './sql/select-ledger-row.js';
import { SqlLedger } from './sql-ledger.js';
import type { SqliteFile } from './sqlite-file.js';
import { LEDGER, type Table } from './tables.js';

export class SqliteLedger extends SqlLedger {
  readonly #file: SqliteFile;
  readonly #table: Table;

  constructor(file: SqliteFile, table: Table) {
    super();
    this.#file = file;
    this.#table = table;
  }

  begin(claim: BoundedClaim): Promise<LedgerRow | undefined> {
    const { gid, instance, position, generation, token, leaseMs, maxAttempts } = claim;
    const values = [gid, instance, position, generation, token, leaseMs, maxAttempts];
    const begun = this.#file.write((connection) => {
      const row =
        connection.prepare(beginAttempt(this.#table)).get(...values) ??
        connection.prepare(selectLedgerRow(this.#table)).get(gid, instance, position);
      return row && rowOf(row);
    });
    return begun.catch((error) => this.#fail(error));
  }

  protected select(statement: (table: Table) => string, values: readonly unknown[]): Promise<any[]> {
    return this.#file.read((connection) => connection.prepare(statement(this.#table)).all(...values)).catch((error) => this.#fail(error));
  }

  protected write(statement: (table: Table) => string, values: readonly unknown[]): Promise<number> {
    return this.#file
      .write((connection) => connection.prepare(statement(this.#table)).run(...values).changes)
      .catch((error) => this.#fail(error));
  }

  async #fail(error: unknown): Promise<never> {
    throw explained(error, await this.#file.own.get(), LEDGER);
  }
}
