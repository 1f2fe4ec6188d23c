import { assertGid, type DbRef } from '@stepping/core';
import type { Question, StepMessage } from './step-message.js';

/** Reads the payload of a branch. Throws on text that is none, or is of a later format. */
export function readStepMessage(text: string): StepMessage {
  const read = readObject(text, 'payload');
  const { gid, instance, position, of, generation, step, queue, args, tenant, ledger } = read;
  assertGid(gid);
  if (!isText(instance) || !isText(step) || !isText(queue)) throw unreadable('payload');
  if (!isCount(position) || !isCount(of) || !isCount(generation) || position >= of) throw unreadable('payload');
  if (!isTextOrNone(args) || !isTextOrNone(tenant) || !isRefOrNone(ledger)) throw unreadable('payload');
  return read as unknown as StepMessage;
}

/** Reads what a query-back carries, base64url of JSON. Throws on text that is none, or is of a later format. */
export function readQuestion(text: string): Question {
  const read = readObject(Buffer.from(text, 'base64url').toString(), 'question');
  const { gid, instance, tenant, db, at } = read;
  assertGid(gid);
  if (!isText(instance) || !isTextOrNone(tenant) || !isRefOrNone(db) || typeof at !== 'number') throw unreadable('question');
  return read as unknown as Question;
}

function readObject(text: string, what: string): Record<string, unknown> {
  let read: unknown;
  try {
    read = JSON.parse(text);
  } catch {
    throw unreadable(what);
  }
  if (typeof read !== 'object' || read === null) throw unreadable(what);
  const { v } = read as { v?: unknown };
  if (v !== 1) throw new Error(`A ${what} is of format ${String(v)}; this release reads 1. A newer one has to take it.`);
  return read as Record<string, unknown>;
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '';
}

function isTextOrNone(value: unknown): boolean {
  return value === undefined || typeof value === 'string';
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isRefOrNone(value: unknown): value is DbRef | undefined {
  if (value === undefined) return true;
  if (typeof value !== 'object' || value === null) return false;
  const { provider, name, tenant } = value as Record<string, unknown>;
  return isText(provider) && isText(name) && isTextOrNone(tenant);
}

function unreadable(what: string): Error {
  return new Error(`A ${what} has the right signature, but is none of ours: its text was made by something else that has the secret.`);
}
