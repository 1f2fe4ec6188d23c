import { randomInt } from 'node:crypto';
import { withPostgresConnection } from '@stepping/typeorm';
import type { DataSource } from 'typeorm';
import { differentServers, inPoolTime } from '../same-database.js';

/**
 * Proves that our connections lead to the server and database that the user's do: a job written through the user's transaction is lost if nobody looks for it there. A lock
 * that ours holds is seen by theirs, and by nobody of another server.
 *
 * @throws {@link SteppingError} `STORE_REFUSED`; `STORE_UNAVAILABLE` when the user's pool has no connection for it.
 */
export async function assertSamePostgres(own: DataSource, users: DataSource): Promise<void> {
  const key = randomInt(1, 2 ** 48 - 1);
  const free = await withPostgresConnection(own, async (connection) => {
    await connection.query('begin');
    await connection.query('select pg_advisory_xact_lock($1)', [key]);
    const [{ free }] = await inPoolTime(users.query('select pg_try_advisory_xact_lock($1) as free', [key]));
    await connection.query('rollback');
    return free;
  });
  if (free) throw differentServers();
}
