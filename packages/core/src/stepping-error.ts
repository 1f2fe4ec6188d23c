/** Every failure that Stepping itself reports. Errors of the user's own transaction pass through unwrapped. */
export type SteppingErrorCode =
  | 'JOB_EMPTY'
  | 'JOB_DUPLICATE'
  | 'JOB_IN_DOUBT'
  | 'JOB_ALREADY_STARTED'
  | 'JOB_NOT_FOUND'
  | 'JOB_STATUS'
  | 'JOB_TOO_LARGE'
  | 'GID_INVALID'
  | 'ARGS_INVALID'
  | 'ARGS_NOT_JSON'
  | 'ARGS_TOO_LARGE'
  | 'STEP_UNKNOWN'
  | 'STEP_DUPLICATE'
  | 'STEP_NOT_RUNNABLE'
  | 'STEP_PERMANENT'
  | 'STEP_RETRY_AFTER'
  | 'STEP_TIMEOUT'
  | 'LEASE_LOST'
  | 'TX_NOT_ACTIVE'
  | 'TX_STILL_ACTIVE'
  | 'TX_NOT_OWNED'
  | 'TX_NESTED'
  | 'BARRIER_EXISTS'
  | 'COMMIT_OUTCOME_UNKNOWN'
  | 'START_OUTCOME_UNKNOWN'
  | 'DB_UNKNOWN'
  | 'DB_MISMATCH'
  | 'STORE_UNAVAILABLE'
  | 'STORE_REFUSED'
  | 'CONFIG_INVALID'
  | 'PLUGIN_MISSING'
  | 'DEPENDENCY_MISSING'
  | 'NOT_STARTED'
  | 'UNSUPPORTED_BY_TM'
  | 'WAIT_TIMEOUT';

/** What an error says besides its message; `cause` becomes `Error.cause`. */
export type SteppingErrorDetails = Readonly<Record<string, unknown>> & { readonly cause?: unknown };

// A registered symbol, so that an error made by a second copy of this package is recognised, too.
const brand = Symbol.for('stepping.error');

/**
 * The one error class of Stepping. Branch on its literal `code`, never on its text; the message says what happened, to which job or step,
 * and what to do now.
 *
 * @example if (SteppingError.is(error, 'JOB_IN_DOUBT')) return retryLater(message);
 */
export class SteppingError<C extends SteppingErrorCode = SteppingErrorCode> extends Error {
  override readonly name = 'SteppingError';
  readonly code: C;
  /** The values that the message names, for logs and for code. */
  readonly details: SteppingErrorDetails;

  constructor(code: C, message: string, details: SteppingErrorDetails = {}) {
    super(message, 'cause' in details ? { cause: details.cause } : undefined);
    this.code = code;
    this.details = details;
    Object.defineProperty(this, brand, { value: true });
  }

  /** Whether `error` is ours and, when `code` is given, that one. Use it instead of `instanceof`: two copies may be loaded. */
  static is<C extends SteppingErrorCode>(error: unknown, code?: C): error is SteppingError<C> {
    return (
      typeof error === 'object' &&
      error !== null &&
      brand in error &&
      (code === undefined || (error as unknown as SteppingError).code === code)
    );
  }
}

/**
 * Throw it from a step: there is no further attempt, and the job is `failed` now.
 *
 * @example throw permanent(`Order ${id} was cancelled by the customer`);
 */
export function permanent(message: string, options: { cause?: unknown } = {}): SteppingError<'STEP_PERMANENT'> {
  return new SteppingError('STEP_PERMANENT', message, options);
}

/** Throw it from a step: the next attempt is made in `delayMs` and not before. It counts as an attempt. Unit: ms. */
export function retryAfter(delayMs: number, message = `The step asked to wait ${delayMs} ms`): SteppingError<'STEP_RETRY_AFTER'> {
  return new SteppingError('STEP_RETRY_AFTER', message, { delayMs });
}
