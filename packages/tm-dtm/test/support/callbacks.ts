import { gidFrom } from '@stepping/core';
import { Signatures } from '../../src/signatures.js';
import type { Question, StepMessage } from '../../src/step-message.js';

export const SECRET = 'a secret that no third party ever sees';
export const CALLBACK_URL = 'http://app.test/stepping';

/** What a callback is made of; changed in part, it is somebody else's. */
export interface CallbackParts {
  method: string;
  kind: string;
  wireGid: string;
  branchId: string;
  op: string;
  /** The body of a step, the text of a question. */
  text: string;
  signature: string;
}

export function aStepMessage(more: Partial<StepMessage> = {}): StepMessage {
  return { v: 1, gid: 'order-1', instance: 'an-instance', position: 0, of: 1, generation: 0, step: 'charge', queue: 'default', ...more };
}

/** A callback of a step as DTM makes it, signed when the message was. */
export function stepCallback(message: StepMessage, secret: string = SECRET): CallbackParts {
  const text = JSON.stringify(message);
  const signed = {
    wireGid: gidFrom('wire', message.gid, String(message.generation)),
    branchId: String(message.position + 1).padStart(2, '0'),
    op: 'action',
    text,
  };
  return { method: 'POST', kind: 'step', ...signed, signature: new Signatures([secret]).sign(signed) };
}

export function questionCallback(more: Partial<Question> = {}, secret: string = SECRET): CallbackParts {
  const question: Question = { v: 1, gid: 'order-1', instance: 'an-instance', at: Date.now(), ...more };
  const text = Buffer.from(JSON.stringify(question)).toString('base64url');
  const signed = { wireGid: gidFrom('wire', question.gid), branchId: '00', op: 'msg', text };
  return { method: 'GET', kind: 'question', ...signed, signature: new Signatures([secret]).sign(signed) };
}

export function toRequest({ method, kind, wireGid, branchId, op, text, signature }: CallbackParts): Request {
  const url = new URL(CALLBACK_URL);
  url.searchParams.set('stepping', kind);
  if (kind === 'question') url.searchParams.set('q', text);
  url.searchParams.set('s', signature);
  // As DTM appends them.
  for (const [name, value] of Object.entries({ gid: wireGid, trans_type: 'msg', branch_id: branchId, op }))
    url.searchParams.set(name, value);
  const headers = { 'content-type': 'application/json' };
  return new Request(url, method === 'GET' ? { method, headers } : { method, headers, body: text });
}
