/** What we read of an error of the driver: by its shape, since an application may have two copies of the driver, and never by its text. */
interface DriverError {
  readonly name?: unknown;
  readonly code?: unknown;
  readonly result?: { getWriteConcernError?(): unknown } | undefined;
  readonly writeConcernError?: unknown;
  hasErrorLabel?(label: string): boolean;
}

/**
 * Nobody knows what such a command has done: the server was interrupted, stepped down or shut down in the middle, ran out of time, or a majority did not acknowledge in time.
 * 6, 7, 89, 9001: network; 24, 46: locks; 50, 262: time; 64, 79, 100: write concern; 91, 189, 10058, 10107, 11600, 11602, 13435, 13436: no primary any more; 112: a conflict.
 */
const UNKNOWN_CODES = new Set([
  6, 7, 24, 46, 50, 64, 79, 89, 91, 100, 112, 189, 262, 9_001, 10_058, 10_107, 11_600, 11_601, 11_602, 13_435, 13_436,
]);

/** Errors that the driver raises before it sends anything. */
const NEVER_SENT = new Set(['MongoInvalidArgumentError', 'MongoAPIError', 'BSONError', 'BSONRuntimeError', 'RangeError', 'TypeError']);

/** The server's own number; an error of the network has none. */
export function codeOf(error: unknown): number | undefined {
  const code = (error as DriverError | undefined)?.code;
  return typeof code === 'number' ? code : undefined;
}

/** The server itself, or the driver before it, said no to what was asked: sending it again would not help, and a statement that it names was not done. */
export function isRefusal(error: unknown): boolean {
  const { name, result, writeConcernError } = (error ?? {}) as DriverError;
  if (typeof name === 'string' && NEVER_SENT.has(name)) return true;
  if (writeConcernError !== undefined || result?.getWriteConcernError?.() !== undefined) return false;
  const code = codeOf(error);
  return code !== undefined && !UNKNOWN_CODES.has(code) && !hasLabel(error, 'RetryableWriteError') && !isTransient(error);
}

/** The key is there already. */
export function isDuplicateKey(error: unknown): boolean {
  return codeOf(error) === 11_000;
}

/** Inside a transaction: the server has ended it, and the whole of it may be tried again. */
export function isTransient(error: unknown): boolean {
  return hasLabel(error, 'TransientTransactionError');
}

/** Of a commit: the server itself says that it did not happen and never will; an error of the write concern in the same answer denies it. */
export function isRefusedCommit(error: unknown): boolean {
  if (codeOf(error) === undefined || (error as DriverError).writeConcernError !== undefined) return false;
  return isTransient(error) && !isUnknownCommit(error);
}

/** Of a commit: nobody knows, and the driver allows that it is sent again. */
export function isUnknownCommit(error: unknown): boolean {
  return hasLabel(error, 'UnknownTransactionCommitResult');
}

function hasLabel(error: unknown, label: string): boolean {
  return (error as DriverError | undefined)?.hasErrorLabel?.(label) ?? false;
}
