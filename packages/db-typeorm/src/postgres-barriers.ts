import { withPostgresConnection } from '@stepping/typeorm';
import type { DataSource } from 'typeorm';
import { LOCK_TIMEOUT_MS, sendToPostgres } from './send.js';
import { type Reason, ServerBarriers } from './server-barriers.js';
import { insertBarrier } from './sql/insert-barrier.js';
import { selectReason } from './sql/select-reason.js';
import type { Table } from './tables.js';

/** Between two statements of a question: when the way to the server is dead and nobody was told, the barrier would stay locked until it notices. Unit: ms. */
const IDLE_TIMEOUT_MS = 10_000;

export class PostgresBarriers extends ServerBarriers {
  protected readonly send = sendToPostgres;

  protected claimAndRead(own: DataSource, table: Table, gid: string, instance: string): Promise<Reason> {
    return withPostgresConnection(own, async (connection) => {
      // The settings end with our transaction, so a pooler in between keeps none of them.
      await connection.query(
        `begin isolation level read committed read write; set local lock_timeout = ${LOCK_TIMEOUT_MS}; set local idle_in_transaction_session_timeout = ${IDLE_TIMEOUT_MS}`,
      );
      await connection.query(insertBarrier(table), [gid, instance, 'rollback']);
      await connection.query('commit');
      const { rows } = await connection.query(selectReason(table), [gid, instance]);
      return rows[0];
    });
  }

  protected list(gids: readonly string[]): unknown {
    return gids;
  }
}
