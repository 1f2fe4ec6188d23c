import type { StandardSchemaV1 } from '@standard-schema/spec';
import { SteppingError } from './stepping-error.js';

/** Any schema that speaks Standard Schema v1: zod, valibot, ArkType, … or {@link unchecked}. */
export type Schema<I = any, O = any> = StandardSchemaV1<I, O>;

/** The schema of a step that takes no args. */
export type NoArgs = Schema<void, void>;

// One branch each: with a second one TypeScript would infer a schema from an annotated context through it.
/** What `addStep` takes for args of schema `S`. */
export type Input<S> = S extends Schema<infer I, any> ? I : never;
/** What `run` receives for args of schema `S`. */
export type Output<S> = S extends Schema<any, infer O> ? O : never;

/**
 * A TypeScript type in place of a schema: the compiler checks it, nothing does at run time.
 *
 * @example defineStep({ name: 'bank.out', args: unchecked<Transfer>(), run({ args }) { … } })
 */
export function unchecked<T>(): Schema<T, T> {
  return { '~standard': { version: 1, vendor: 'stepping', validate: (value) => ({ value: value as T }) } };
}

/**
 * Runs `schema` over `value` as it is stored; a promise if the schema is asynchronous. Without a schema the value goes through as it is.
 *
 * @throws {@link SteppingError} `ARGS_INVALID`, with the path and text of every issue.
 */
export function parseArgs(schema: Schema | undefined, value: unknown, where: string): unknown | Promise<unknown> {
  if (!schema) return value;
  try {
    const result = schema['~standard'].validate(value);
    if (!(result instanceof Promise)) return parsedOrThrow(result, where);
    return result.then(
      (settled) => parsedOrThrow(settled, where),
      (cause) => {
        throw schemaFailed(cause, where);
      },
    );
  } catch (cause) {
    throw SteppingError.is(cause, 'ARGS_INVALID') ? cause : schemaFailed(cause, where);
  }
}

type ParseResult = Awaited<ReturnType<Schema['~standard']['validate']>>;

function parsedOrThrow(result: ParseResult, where: string): unknown {
  if (!result.issues) return result.value;
  const issues = result.issues.map((issue) => {
    const path = (issue.path ?? []).map((part) => String(typeof part === 'object' ? part.key : part)).join('.');
    return path === '' ? issue.message : `${path}: ${issue.message}`;
  });
  throw new SteppingError('ARGS_INVALID', `The args of ${where} do not fit its schema: ${issues.join('; ')}. Pass args that fit.`, {
    issues: result.issues,
  });
}

function schemaFailed(cause: unknown, where: string): SteppingError {
  return new SteppingError(
    'ARGS_INVALID',
    `The schema of ${where} failed on its args: ${cause instanceof Error ? cause.message : String(cause)}. Pass args that fit, or mend the schema.`,
    { cause },
  );
}
