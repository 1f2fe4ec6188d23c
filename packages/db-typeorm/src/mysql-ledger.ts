import type { BoundedClaim, LedgerRow } from '@stepping/core/db';
import { isUniqueViolation, withMysqlConnection } from '@stepping/typeorm';
import type { DataSource } from 'typeorm';
import { rowOf } from './ledger-rows.js';
import { MYSQL_TIMEOUTS, sendToMysql } from './send.js';
import { ServerLedger } from './server-ledger.js';
import { beginAttemptAgain, valuesOfAgain } from './sql/begin-attempt-again.js';
import { beginFirstAttempt } from './sql/begin-first-attempt.js';
import { selectLedgerRow } from './sql/select-ledger-row.js';
import type { Table } from './tables.js';

export class MysqlLedger extends ServerLedger {
  protected readonly send = sendToMysql;

  /** Most steps succeed at the first attempt: one trip. */
  protected beginOn(own: DataSource, table: Table, claim: BoundedClaim): Promise<LedgerRow | undefined> {
    const { gid, instance, position, generation, token, leaseMs } = claim;
    return withMysqlConnection(own, MYSQL_TIMEOUTS, async (send) => {
      try {
        await send(beginFirstAttempt(table), [gid, instance, position, generation, token, leaseMs]);
        return { generation, state: 'open', attempts: 1, token, held: true, dueInMs: leaseMs, intervalMs: undefined };
      } catch (error) {
        if (!isUniqueViolation(error)) throw error;
      }
      const again = `${beginAttemptAgain(table)}; ${selectLedgerRow(table)}`;
      const { rows } = await send(again, [...valuesOfAgain(claim), gid, instance, position]);
      return rows[0] && rowOf(rows[0]);
    });
  }
}
