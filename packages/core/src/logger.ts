/** Where Stepping writes its log. `console` and pino fit as they are. */
export interface Logger {
  trace(message: string, fields?: object): void;
  debug(message: string, fields?: object): void;
  info(message: string, fields?: object): void;
  warn(message: string, fields?: object): void;
  error(message: string, fields?: object): void;
  /** Without it (`console`) the fields are merged into each call. */
  child?(fields: object): Logger;
}

const LEVELS = ['trace', 'debug', 'info', 'warn', 'error'] as const;

/** Swallows everything: the logger of an app that was given none. */
export const silentLogger: Required<Logger> = { trace() {}, debug() {}, info() {}, warn() {}, error() {}, child: () => silentLogger };

/**
 * Makes any logger complete and safe: `child` always exists, a logger that throws cannot break a job, and pino, which takes
 * `(fields, message)` and would drop fields that come second, gets them first, an error as `err`. It is recognised by its `bindings()`.
 */
export function completeLogger(logger: Logger, bound: object = {}): Required<Logger> {
  const fieldsFirst = typeof (logger as { bindings?: unknown }).bindings === 'function';
  const write = (level: (typeof LEVELS)[number]) => (message: string, fields?: object) => {
    const all = { ...bound, ...fields };
    try {
      if (fieldsFirst) (logger[level] as unknown as (fields: object, message: string) => void).call(logger, forPino(all), message);
      else if (Object.keys(all).length > 0) logger[level](message, all);
      else logger[level](message);
    } catch {
      // The log is not worth a job.
    }
  };
  return {
    trace: write('trace'),
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    child: (fields) =>
      logger.child ? completeLogger(logger.child({ ...bound, ...fields })) : completeLogger(logger, { ...bound, ...fields }),
  };
}

/** pino writes an Error as `{}` unless it is called `err`. */
function forPino(fields: { error?: unknown }): object {
  if (!(fields.error instanceof Error)) return fields;
  const { error, ...others } = fields;
  return { ...others, err: error };
}
