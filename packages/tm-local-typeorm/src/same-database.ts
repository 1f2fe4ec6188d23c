import { SteppingError } from '@stepping/core';

/** How long the user's pool may take. Unit: ms. */
const TIMEOUT_MS = 10_000;

/** What to say when our connections and the user's do not meet. */
export function differentServers(): SteppingError {
  return new SteppingError(
    'STORE_REFUSED',
    'The connections of the DataSource lead to different servers (a load balancer or a list of hosts before replicas?), so jobs committed with business transactions would not be found. Give it the primary alone.',
  );
}

/** An answer over the user's own pool, which may be used up. */
export async function inPoolTime<R>(answer: Promise<R>): Promise<R> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const message = `The pool of the DataSource gave no connection, or no answer, within ${TIMEOUT_MS} ms. Start the app before its pool is used up.`;
  const timer = setTimeout(() => reject(new SteppingError('STORE_UNAVAILABLE', message)), TIMEOUT_MS);
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}
