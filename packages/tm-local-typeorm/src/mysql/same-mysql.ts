import { randomUUID } from 'node:crypto';
import { withMysqlConnection } from '@stepping/typeorm';
import type { DataSource } from 'typeorm';
import { differentServers, inPoolTime } from '../same-database.js';

/**
 * Proves that our connections lead to the server that the user's do: a job written through the user's transaction is lost if nobody looks for it there. A lock of ours is seen
 * by theirs, and by nobody of another server.
 *
 * @throws {@link SteppingError} `STORE_REFUSED`; `STORE_UNAVAILABLE` when the user's pool has no connection for it.
 */
export async function assertSameMysql(own: DataSource, users: DataSource): Promise<void> {
  const name = `stepping:${randomUUID()}`;
  const isFree = await withMysqlConnection(own, { lockTimeoutMs: 10_000, timeoutMs: 10_000 }, async (send) => {
    await send('select get_lock(?, 0)', [name]);
    const [{ isFree }] = await inPoolTime(users.query('select is_free_lock(?) as isFree', [name]));
    await send('select release_lock(?)', [name]);
    return isFree;
  });
  if (Number(isFree) === 1) throw differentServers();
}
