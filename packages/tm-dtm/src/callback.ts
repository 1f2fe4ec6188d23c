import { MALFORMED, TOO_LARGE, UNKNOWN, WRONG_METHOD } from './answer.js';
import type { SignedCallback } from './signatures.js';

/** More than any payload of ours: a job has at most 4 MiB, and its text grows when it is a text in a text. Unit: bytes. */
const MAX_BODY_BYTES = 8 * 1_024 * 1_024;

/** A callback as it came in; nobody has looked yet whether it is genuine. */
export interface Callback extends SignedCallback {
  readonly kind: 'step' | 'question' | 'self-test';
  readonly signature: string;
}

/** Which method and which branch a kind of callback comes with. */
const EXPECTED: Record<Callback['kind'], { readonly method: 'GET' | 'POST'; readonly op: string }> = {
  step: { method: 'POST', op: 'action' },
  question: { method: 'GET', op: 'msg' },
  'self-test': { method: 'POST', op: 'action' },
};

/** Reads a request; a number is the status to answer, because it is no callback. Rejects when the body cannot be read. */
export async function readCallback(request: Request): Promise<Callback | number> {
  const { searchParams } = new URL(request.url);
  const kind = only(searchParams, 'stepping');
  if (kind !== 'step' && kind !== 'question' && kind !== 'self-test') return UNKNOWN;
  const expected = EXPECTED[kind];
  if (request.method !== expected.method) return WRONG_METHOD;
  const wireGid = only(searchParams, 'gid');
  const branchId = only(searchParams, 'branch_id');
  const op = only(searchParams, 'op');
  if (wireGid === undefined || branchId === undefined || op !== expected.op) return MALFORMED;
  const text = kind === 'question' ? only(searchParams, 'q') : await readText(request);
  if (text === undefined) return kind === 'question' ? MALFORMED : TOO_LARGE;
  return { kind, wireGid, branchId, op, text, signature: only(searchParams, 's') ?? '' };
}

/** A parameter that is there twice says nothing: which of the two was meant? */
function only(parameters: URLSearchParams, name: string): string | undefined {
  const values = parameters.getAll(name);
  return values.length === 1 ? values[0] : undefined;
}

async function readText(request: Request): Promise<string | undefined> {
  if (!request.body) return '';
  const decoder = new TextDecoder();
  let text = '';
  let bytes = 0;
  for await (const chunk of request.body) {
    bytes += chunk.byteLength;
    if (bytes > MAX_BODY_BYTES) return undefined;
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}
