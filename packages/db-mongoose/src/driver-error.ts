/** What we read of an error of the driver: by its shape, since an application may have two copies of the driver, and never by its text. */
interface DriverError {
  readonly code?: unknown;
  readonly writeConcernError?: { readonly code?: unknown } | undefined;
  hasErrorLabel?(label: string): boolean;
}

/** The server's own number; an error of the network has none. */
export function codeOf(error: unknown): number | undefined {
  const code = (error as DriverError | undefined)?.code;
  return typeof code === 'number' ? code : undefined;
}

/** The key is there already. Inside a transaction MongoDB has aborted the transaction with it. */
export function isDuplicateKey(error: unknown): boolean {
  return codeOf(error) === 11_000;
}

/** Of a statement inside a transaction: the server itself refused it, and with it the transaction. A lost connection is not that. */
export function isRefusedStatement(error: unknown): boolean {
  return codeOf(error) !== undefined;
}

/**
 * Of a commit: the server itself says that it did not happen and never will. It says so (251 and the like, with this label) to a commit that asked for a majority only after a
 * majority has acknowledged that there is no such commit, which an error of the write concern in the same answer denies.
 */
export function isRefusedCommit(error: unknown): boolean {
  const { writeConcernError } = error as DriverError;
  return (
    codeOf(error) !== undefined && has(error, 'TransientTransactionError') && !isUnknownCommit(error) && writeConcernError === undefined
  );
}

/** Of a commit: nobody knows, and the driver allows, and wants, that it is sent again. */
export function isUnknownCommit(error: unknown): boolean {
  return has(error, 'UnknownTransactionCommitResult');
}

/** The time that the caller gave the server is over (`MaxTimeMSExpired`). */
export function isOutOfTime(error: unknown): boolean {
  return codeOf(error) === 50 || (error as DriverError | undefined)?.writeConcernError?.code === 50;
}

function has(error: unknown, label: string): boolean {
  return (error as DriverError | undefined)?.hasErrorLabel?.(label) ?? false;
}
