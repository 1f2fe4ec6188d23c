import { randomInt } from 'node:crypto';
import type { DbRef } from '@stepping/core';
import type { StoredError } from '@stepping/tm-local';

/** The steps of a row that only says "rolled back" (R9). */
export const NO_STEPS = '{"v":1,"steps":[]}';

/** First fencing number of a row that the store itself inserts: random, below 2^48, never 0. */
export function firstLease(): number {
  return randomInt(1, 2 ** 48 - 1);
}

export function dbToText(db: DbRef | undefined): string | null {
  return db === undefined ? null : JSON.stringify(db);
}

export function dbFromText(text: string | null): DbRef | undefined {
  return text === null ? undefined : (JSON.parse(text) as DbRef);
}

export function errorToText(error: StoredError | undefined): string | null {
  return error === undefined ? null : JSON.stringify({ name: error.name, message: error.message });
}

export function errorFromText(text: string | null): StoredError | undefined {
  return text === null ? undefined : (JSON.parse(text) as StoredError);
}
