import type { LedgerError, LedgerKey, LedgerRecord } from '@stepping/core';
import type { BoundedClaim, HeldKey, LedgerEntry, LedgerRow, LedgerTable } from '@stepping/core/db';
import { entryValues, errorText, recordOf, rowOf } from './ledger-rows.js';
import { buryStep } from './sql/bury-step.js';
import { endAttempt } from './sql/end-attempt.js';
import { extendAttempt } from './sql/extend-attempt.js';
import { selectLedger } from './sql/select-ledger.js';
import { selectLedgerRow } from './sql/select-ledger-row.js';
import { sweepLedger } from './sql/sweep-ledger.js';
import type { Table } from './tables.js';

type Statement = (table: Table) => string;

/** A ledger in SQL: all but how an attempt begins, and how statements are sent. */
export abstract class SqlLedger implements LedgerTable {
  abstract begin(claim: BoundedClaim): Promise<LedgerRow | undefined>;
  protected abstract select(statement: Statement, values: readonly unknown[]): Promise<any[]>;
  /** Answers how many rows it has changed; it is committed then. */
  protected abstract write(statement: Statement, values: readonly unknown[]): Promise<number>;

  async find({ gid, instance, position }: LedgerKey): Promise<LedgerRow | undefined> {
    const [row] = await this.select(selectLedgerRow, [gid, instance, position]);
    return row && rowOf(row);
  }

  async extend({ gid, instance, position, token }: HeldKey, leaseMs: number): Promise<boolean> {
    return (await this.write(extendAttempt, [leaseMs, gid, instance, position, token])) === 1;
  }

  async end({ gid, instance, position, token }: HeldKey, entry: LedgerEntry): Promise<boolean> {
    return (await this.write(endAttempt, [...entryValues(entry), gid, instance, position, token])) === 1;
  }

  async bury({ gid, instance, position, token }: HeldKey, seen: LedgerRow, error: LedgerError | undefined): Promise<boolean> {
    const before = [seen.generation, seen.attempts, seen.token, Number(seen.held)];
    return (await this.write(buryStep, [token, errorText(error), gid, instance, position, ...before])) === 1;
  }

  async read(gid: string, instance: string): Promise<readonly LedgerRecord[]> {
    return (await this.select(selectLedger, [gid, instance])).map(recordOf);
  }

  deleteOld(olderThanMs: number, limit: number): Promise<number> {
    return this.write(sweepLedger, [olderThanMs, limit]);
  }
}
