import { randomBytes } from 'node:crypto';

/** Writes of a kind that a job remembers. Between a write and the read of its token others may come upon the same job, but not so many. */
const REMEMBERED = 4;

const ofThisProcess = randomBytes(9).toString('base64url');
let count = 0;

/** What a write leaves where it matched, unlike that of any other: so it can be told afterwards which documents it has written. Short, since every job has several. */
export function writeToken(): string {
  return `${ofThisProcess}${(count++).toString(36)}`;
}

/** The modifier that adds a token to those of its kind. */
export function pushToken(token: string): { $each: string[]; $slice: number } {
  return { $each: [token], $slice: -REMEMBERED };
}

/** The same in a pipeline, for a token or for an object that has one in it. */
export function withToken(field: string, entry: object) {
  return { $slice: [{ $concatArrays: [{ $ifNull: [`$${field}`, []] }, [entry]] }, -REMEMBERED] };
}
