import type { BoundedClaim, LedgerRow } from '@stepping/core/db';
import type { DataSource } from 'typeorm';
import { explained } from './missing-table.js';
import type { OwnConnections } from './own-connections.js';
import type { Send } from './send.js';
import { SqlLedger } from './sql-ledger.js';
import { LEDGER, ledgerTableOf, type Table } from './tables.js';

/** The ledger of a database on a server, over a small pool of our own. */
export abstract class ServerLedger extends SqlLedger {
  readonly #own: OwnConnections;

  constructor(own: OwnConnections) {
    super();
    this.#own = own;
  }

  protected abstract readonly send: Send;
  protected abstract beginOn(own: DataSource, table: Table, claim: BoundedClaim): Promise<LedgerRow | undefined>;

  begin(claim: BoundedClaim): Promise<LedgerRow | undefined> {
    return this.#on((own, table) => this.beginOn(own, table, claim));
  }

  protected async select(statement: (table: Table) => string, values: readonly unknown[]): Promise<any[]> {
    return (await this.#on((own, table) => this.send(own, statement(table), values))).rows;
  }

  protected async write(statement: (table: Table) => string, values: readonly unknown[]): Promise<number> {
    return (await this.#on((own, table) => this.send(own, statement(table), values))).affected;
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
