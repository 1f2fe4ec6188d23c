import type { BoundedClaim, LedgerRow } from '@stepping/core/db';
import type { DataSource } from 'typeorm';
import { rowOf } from './ledger-rows.js';
import { sendToPostgres } from './send.js';
import { ServerLedger } from './server-ledger.js';
import { beginAttempt } from './sql/begin-attempt.js';
import type { Table } from './tables.js';

export class PostgresLedger extends ServerLedger {
  protected readonly send = sendToPostgres;

  protected async beginOn(own: DataSource, table: Table, claim: BoundedClaim): Promise<LedgerRow | undefined> {
    const { gid, instance, position, generation, token, leaseMs, maxAttempts } = claim;
    const { rows } = await this.send(own, beginAttempt(table), [gid, instance, position, generation, token, leaseMs, maxAttempts]);
    return rows[0] ? rowOf(rows[0]) : this.find(claim);
  }
}
