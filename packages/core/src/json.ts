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
    const flaw = flawOf(args, []);
    if (flaw) throw notJson(`args${flaw.path}`, step, flaw.what);
    return JSON.stringify(args);
  } catch (error) {
    // The stack of calls is as deep as the value.
    throw error instanceof RangeError ? notJson('args', step, 'is nested thousands of levels deep') : error;
  }
}

interface Flaw {
  readonly path: string;
  readonly what: string;
}

/** What JSON would lose or change; the path to it is put together on the way back, as there seldom is any. */
function flawOf(value: unknown, ancestors: object[]): Flaw | undefined {
  if (value === null || value === undefined || typeof value === 'string' || typeof value === 'boolean') return undefined;
  if (typeof value === 'number') return Number.isFinite(value) ? undefined : { path: '', what: `is ${value}` };
  if (typeof value !== 'object') return { path: '', what: `is a ${typeof value}` };
  if (ancestors.includes(value)) return { path: '', what: 'contains itself' };
  const prototype: unknown = Object.getPrototypeOf(value);
  if (!Array.isArray(value) && prototype !== Object.prototype && prototype !== null) {
    return { path: '', what: `is a ${value.constructor?.name ?? 'class instance'}` };
  }
  ancestors.push(value);
  const flaw = Array.isArray(value) ? flawOfItems(value, ancestors) : flawOfParts(value as Record<string, unknown>, ancestors);
  ancestors.pop();
  return flaw;
}

function flawOfItems(list: readonly unknown[], ancestors: object[]): Flaw | undefined {
  for (let i = 0; i < list.length; i++) {
    // JSON would turn a hole or undefined into null: another value than the one passed.
    const flaw = list[i] === undefined ? { path: '', what: 'is undefined, which JSON would turn into null' } : flawOf(list[i], ancestors);
    if (flaw) return { ...flaw, path: `[${i}]${flaw.path}` };
  }
  return undefined;
}

function flawOfParts(value: Readonly<Record<string, unknown>>, ancestors: object[]): Flaw | undefined {
  for (const key of Object.keys(value)) {
    const flaw = flawOf(value[key], ancestors);
    if (flaw) return { ...flaw, path: `.${key}${flaw.path}` };
  }
  return undefined;
}

function notJson(path: string, step: string, what: string): SteppingError<'ARGS_NOT_JSON'> {
  return new SteppingError(
    'ARGS_NOT_JSON',
    `Step ${step}: ${path} ${what}, but args are stored as JSON. Pass plain strings, numbers, booleans, arrays and objects, and convert in the schema or in run.`,
    { step, path },
  );
}
