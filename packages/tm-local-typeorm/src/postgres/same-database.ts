import { randomInt } from 'node:crypto';
import { SteppingError } from '@stepping/core';
import { withPostgresConnection } from '@stepping/typeorm';
import type { DataSource } from 'typeorm';

/** How long the user's pool may take. Unit: ms. */
const TIMEOUT_MS = 10_000;

/**
 * Proves that our connections lead to the server and database that the user's do: a job written through the user's transaction is lost if nobody looks for it there. A lock
 * that ours holds is seen by theirs, and by nobody of another server.
 *
 * @throws {@link SteppingError} `STORE_REFUSED`; `STORE_UNAVAILABLE` when the user's pool has no connection for it.
 */
export async function assertSameDatabase(own: DataSource, users: DataSource): Promise<void> {
  const key = randomInt(1, 2 ** 48 - 1);
  const free = await withPostgresConnection(own, async (connection) => {
    await connection.query('begin');
    await connection.query('select pg_advisory_xact_lock($1)', [key]);
    const [{ free }] = await inTime(users.query('select pg_try_advisory_xact_lock($1) as free', [key]));
    await connection.query('rollback');
    return free;
  });
  if (!free) return;
  throw new SteppingError(
    'STORE_REFUSED',
    'The connections of the DataSource lead to different servers (a load balancer or a list of hosts before replicas?), so jobs committed with business transactions would not be found. Give it the primary alone.',
  );
}

async function inTime<R>(answer: Promise<R>): Promise<R> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const message = `The pool of the DataSource gave no connection, or no answer, within ${TIMEOUT_MS} ms. Start the app before its pool is used up.`;
  const timer = setTimeout(() => reject(new SteppingError('STORE_UNAVAILABLE', message)), TIMEOUT_MS);
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}
