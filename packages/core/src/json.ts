import type { Schema } from './schema.js';
import { SteppingError } from './stepping-error.js';

type NotJsonLeaf = Date | bigint | symbol | ((...args: any[]) => any) | Map<any, any> | Set<any> | RegExp | Uint8Array | Error;

/** The path to the first part of `T` that JSON does not keep; `never` if there is none. Looks six levels deep. */
type NotJsonPath<T, Path extends string = '', Depth extends 0[] = []> = Depth['length'] extends 6
  ? never
  : 0 extends 1 & T
    ? never
    : unknown extends T
      ? never
      : T extends string | number | boolean | null | undefined
        ? never
        : T extends NotJsonLeaf
          ? Path extends ''
            ? '(the whole value)'
            : Path
          : T extends readonly (infer E)[]
            ? NotJsonPath<E, `${Path}[]`, [...Depth, 0]>
            : T extends object
              ? { [K in keyof T & string]: NotJsonPath<T[K], Path extends '' ? K : `${Path}.${K}`, [...Depth, 0]> }[keyof T & string]
              : never;

type SchemaInput<S> = S extends Schema<infer I, any> ? I : S;

/** `unknown` when the input of schema `S` survives JSON, else a type whose text says what does not. */
export type JsonSafe<S> = [NotJsonPath<SchemaInput<S>>] extends [never]
  ? unknown
  : { 'stored as JSON, but this is not JSON': NotJsonPath<SchemaInput<S>> };

/**
 * The JSON text of a step's args, taken now: what the caller changes later does not reach the job.
 *
 * @throws {@link SteppingError} `ARGS_NOT_JSON` with the path to what JSON would lose or change.
 */
export function argsToJson(args: unknown, step: string): string | undefined {
  if (args === undefined) return undefined;
  try {
    assertJson(args, 'args', step, []);
    return JSON.stringify(args);
  } catch (error) {
    // The stack of calls is as deep as the value.
    throw error instanceof RangeError ? notJson('args', step, 'is nested thousands of levels deep') : error;
  }
}

function assertJson(value: unknown, path: string, step: string, ancestors: readonly object[]): void {
  if (value === null || value === undefined || typeof value === 'string' || typeof value === 'boolean') return;
  if (typeof value === 'number' && Number.isFinite(value)) return;
  if (typeof value === 'object') {
    if (ancestors.includes(value)) throw notJson(path, step, 'contains itself');
    const inside = [...ancestors, value];
    if (Array.isArray(value)) {
      for (let i = 0; i < value.length; i++) {
        // JSON would turn a hole or undefined into null: another value than the one passed.
        if (value[i] === undefined) throw notJson(`${path}[${i}]`, step, 'is undefined, which JSON would turn into null');
        assertJson(value[i], `${path}[${i}]`, step, inside);
      }
      return;
    }
    const prototype: unknown = Object.getPrototypeOf(value);
    if (prototype === Object.prototype || prototype === null) {
      for (const [key, part] of Object.entries(value)) assertJson(part, `${path}.${key}`, step, inside);
      return;
    }
  }
  const what =
    typeof value === 'object'
      ? `is a ${value.constructor?.name ?? 'class instance'}`
      : `is ${typeof value === 'number' ? value : `a ${typeof value}`}`;
  throw notJson(path, step, what);
}

function notJson(path: string, step: string, what: string): SteppingError<'ARGS_NOT_JSON'> {
  return new SteppingError(
    'ARGS_NOT_JSON',
    `Step ${step}: ${path} ${what}, but args are stored as JSON. Pass plain strings, numbers, booleans, arrays and objects, and convert in the schema or in run.`,
    { step, path },
  );
}
