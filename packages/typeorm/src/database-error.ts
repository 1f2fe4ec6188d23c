// What an error of the database means. Only SQLSTATEs, numbers and driver codes decide, never a text: texts are translated.

/** Numbers of MySQL and MariaDB. */
const DUPLICATE_KEY = 1062;
const LOCK_WAIT_TIMEOUT = 1205;
const DEADLOCK = 1213;

/**
 * Errors of MySQL and MariaDB after which nobody knows: the session is ended (by a shutdown, by KILL, because it was idle), the statement was ended from outside, or the
 * engine failed in the middle of a commit.
 */
const NO_ANSWER = new Set([
  1030, 1053, 1079, 1080, 1152, 1158, 1159, 1160, 1161, 1180, 1181, 1184, 1317, 1598, 1927, 1969, 3024, 3100, 3101, 4031,
]);

/** Unique or primary key taken. */
export function isUniqueViolation(error: unknown): boolean {
  const code = codeOf(error);
  if (numberOf(error) === DUPLICATE_KEY) return true;
  return code === '23505' || code === 'SQLITE_CONSTRAINT_UNIQUE' || code === 'SQLITE_CONSTRAINT_PRIMARYKEY';
}

/** The wait for a lock was given up (PostgreSQL's `lock_timeout`, MySQL's `innodb_lock_wait_timeout`), or SQLite's file is locked. */
export function isLockTimeout(error: unknown): boolean {
  return codeOf(error) === '55P03' || numberOf(error) === LOCK_WAIT_TIMEOUT || isBusy(error);
}

/** Two transactions waited for each other, and this one was rolled back. */
export function isDeadlock(error: unknown): boolean {
  return codeOf(error) === '40P01' || numberOf(error) === DEADLOCK;
}

/** Somebody else holds the lock of the SQLite file; the same statement may work a moment later. */
export function isBusy(error: unknown): boolean {
  const code = codeOf(error);
  // BUSY_SNAPSHOT never gets better by waiting: the whole transaction would have to begin again.
  return code !== undefined && /^SQLITE_(BUSY|LOCKED)/.test(code) && code !== 'SQLITE_BUSY_SNAPSHOT';
}

/**
 * The server itself said no, so the statement wrote nothing. False when nobody knows: the connection broke, the server shut down in the middle, we
 * stopped waiting.
 */
export function isDefiniteRefusal(error: unknown): boolean {
  const cause = driverErrorOf(error);
  const number = numberOf(cause);
  if (number !== undefined) return !NO_ANSWER.has(number);
  const code = codeOf(cause);
  if (code === undefined) return false;
  // A failed write to the disk may or may not be found there after a restart.
  if (code.startsWith('SQLITE_')) return !code.startsWith('SQLITE_IOERR');
  // Every error that the server sent has a severity. Its text is translated, so the state alone decides.
  return isSqlState(code) && typeof (cause as { severity?: unknown }).severity === 'string' && !saysNothing(code);
}

/**
 * What a rejected COMMIT means. Only the server's answer to the COMMIT itself is proof: an error of another statement (a subscriber's, after the commit)
 * says nothing.
 */
export function commitOutcome(error: unknown): 'not-committed' | 'unknown' {
  const { query } = error as { query?: unknown };
  // Alone, or with what goes in one trip with it: the server does either both or nothing.
  const ofCommit = query === undefined || (typeof query === 'string' && /(^|; )COMMIT$/i.test(query.trim()));
  return ofCommit && isDefiniteRefusal(error) ? 'not-committed' : 'unknown';
}

/** The driver's own error inside of TypeORM's `QueryFailedError`. */
export function driverErrorOf(error: unknown): unknown {
  return (error as { driverError?: unknown } | undefined)?.driverError ?? error;
}

function codeOf(error: unknown): string | undefined {
  const code = (driverErrorOf(error) as { code?: unknown } | undefined)?.code;
  return typeof code === 'string' ? code : undefined;
}

/** Of an error that a MySQL or MariaDB server sent. The driver's own and Node's have no SQLSTATE. */
function numberOf(error: unknown): number | undefined {
  const { errno, sqlState } = (driverErrorOf(error) ?? {}) as { errno?: unknown; sqlState?: unknown };
  return typeof errno === 'number' && typeof sqlState === 'string' && isSqlState(sqlState) && !sqlState.startsWith('08')
    ? errno
    : undefined;
}

/** Five of A-Z and 0-9. Node's own codes (`ECONNRESET`, `EPIPE`) come without a `severity`, so they are never taken for one. */
function isSqlState(code: string): boolean {
  return /^[0-9A-Z]{5}$/.test(code);
}

/**
 * States that may come with FATAL or PANIC, after the commit was made but before it was told: connection exceptions, shutdowns and timeouts of the session, statement
 * completion unknown, a full disk, errors of the system and of the server itself.
 */
function saysNothing(sqlState: string): boolean {
  return /^(08|57P|58|XX|F0)/.test(sqlState) || ['25P03', '25P04', '40003', '53100'].includes(sqlState);
}
