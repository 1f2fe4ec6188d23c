import { isUniqueViolation, withMysqlConnection } from '@stepping/typeorm';
import type { DataSource } from 'typeorm';
import type { BarrierTable } from './barrier-table.js';
import { LOCK_TIMEOUT_MS } from './barriers.js';
import { type Answer, QUERY_TIMEOUT_MS, type Reason, ServerBarriers } from './server-barriers.js';
import { insertBarrier } from './sql/insert-barrier.js';
import { selectReason } from './sql/select-reason.js';

/** Whatever the server's defaults are, our connections commit each statement by itself and read what is committed. */
const TIMEOUTS = { lockTimeoutMs: LOCK_TIMEOUT_MS, timeoutMs: QUERY_TIMEOUT_MS };

export class MysqlBarriers extends ServerBarriers {
  protected claimAndRead(own: DataSource, table: BarrierTable, gid: string, instance: string): Promise<Reason> {
    return withMysqlConnection(own, TIMEOUTS, async (send) => {
      try {
        await send(insertBarrier(table), [gid, instance, 'rollback']);
      } catch (error) {
        if (!isUniqueViolation(error)) throw error;
      }
      const { rows } = await send(selectReason(table), [gid, instance]);
      return rows[0];
    });
  }

  protected send(own: DataSource, sql: string, values: readonly unknown[]): Promise<Answer> {
    return withMysqlConnection(own, TIMEOUTS, (send) => send(sql, values));
  }

  protected list(gids: readonly string[]): unknown {
    return JSON.stringify(gids);
  }
}
