import { isUniqueViolation, withMysqlConnection } from '@stepping/typeorm';
import type { DataSource } from 'typeorm';
import { MYSQL_TIMEOUTS, sendToMysql } from './send.js';
import { type Reason, ServerBarriers } from './server-barriers.js';
import { insertBarrier } from './sql/insert-barrier.js';
import { selectReason } from './sql/select-reason.js';
import type { Table } from './tables.js';

export class MysqlBarriers extends ServerBarriers {
  protected readonly send = sendToMysql;

  protected claimAndRead(own: DataSource, table: Table, gid: string, instance: string): Promise<Reason> {
    return withMysqlConnection(own, MYSQL_TIMEOUTS, async (send) => {
      try {
        await send(insertBarrier(table), [gid, instance, 'rollback']);
      } catch (error) {
        if (!isUniqueViolation(error)) throw error;
      }
      const { rows } = await send(selectReason(table), [gid, instance]);
      return rows[0];
    });
  }

  protected list(gids: readonly string[]): unknown {
    return JSON.stringify(gids);
  }
}
