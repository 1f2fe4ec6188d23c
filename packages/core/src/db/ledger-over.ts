import type { DbRef } from '../db-transaction.js';
import type { LedgerAnswer, LedgerClaim, LedgerEnd, LedgerError, StepLedger } from '../step-ledger.js';
import { permanent } from '../stepping-error.js';
import type { BoundedClaim, LedgerEntry, LedgerRow, LedgerTable } from './ledger-table.js';
import { within } from './within.js';

/** One call with all that belongs to it: the tenant's database, a connection, a lock. Who waits for it waits for an answer to a request. Unit: ms. */
const TIMEOUT_MS = 5_000;
/** An old row may vanish, or be written by somebody else, between the look at it and what follows from that. */
const LOOKS = 5;
/** Stands for "without a bound", and fits every database. */
const UNBOUNDED = 2_147_483_647;
/** Longest name or message of an error that is kept. Unit: UTF-16 units. */
const MAX_ERROR_LENGTH = 100_000;

/** The ledger of a db provider, over the statements of its databases. */
export function ledgerOver(retentionMs: number, tableOf: (ref: DbRef) => Promise<LedgerTable>): StepLedger {
  const on = <R>(ref: DbRef, what: string, work: (table: LedgerTable) => Promise<R>) =>
    within(TIMEOUT_MS, `${what} in the ledger of database '${ref.name}'`, async () => work(await tableOf(ref)));
  return {
    retentionMs,
    begin: (claim, ref) => on(ref, 'To begin an attempt', (table) => begin(table, bounded(claim))),
    extend: (key, leaseMs, ref) => on(ref, 'To prolong an attempt', (table) => table.extend(key, Math.ceil(leaseMs))),
    end: (key, end, ref) =>
      on(ref, 'To end an attempt', async (table) => {
        const entry = entryOf(end);
        return (await table.end(key, entry)) || isRepeat(await table.find(key), key.token, entry);
      }),
    read: (gid, instance, ref) => on(ref, 'To read', (table) => table.read(gid, instance)),
  };
}

function bounded(claim: LedgerClaim): BoundedClaim {
  return { ...claim, leaseMs: Math.ceil(claim.leaseMs), maxAttempts: Math.min(claim.maxAttempts ?? UNBOUNDED, UNBOUNDED) };
}

async function begin(table: LedgerTable, claim: BoundedClaim): Promise<LedgerAnswer> {
  for (let look = 0; look < LOOKS; look++) {
    const row = await table.begin(claim);
    const answer = row && answerOf(claim, row);
    if (answer !== undefined) return answer;
    if (row === undefined) continue;
    const error = row.held ? workerLost(row.attempts) : undefined;
    if (await table.bury({ ...claim, token: burierOf(claim) }, row, error)) return BURIED;
  }
  return { answer: 'wait', inMs: 0 };
}

/** Undefined: its attempts are used up, and nobody has said so yet. */
function answerOf(claim: BoundedClaim, row: LedgerRow): LedgerAnswer | undefined {
  if (row.generation > claim.generation) return { answer: 'dead' };
  const isOwn = row.generation === claim.generation && row.token === claim.token;
  if (isOwn && row.held) return { answer: 'begun', attempt: row.attempts, intervalMs: row.intervalMs };
  if (row.state === 'dead' && row.token === burierOf(claim)) return BURIED;
  if (row.state !== 'open') return { answer: row.state };
  if (row.dueInMs > 0) return { answer: 'wait', inMs: Math.ceil(row.dueInMs) };
  const isUsedUp = row.generation === claim.generation && row.attempts >= claim.maxAttempts;
  // One whose attempt has ended comes too late; another one will be told.
  return isUsedUp && !isOwn ? undefined : { answer: 'wait', inMs: 0 };
}

const BURIED: LedgerAnswer = { answer: 'dead', buried: true };

/** What is written as the token of a claim that marked the step dead: no attempt has it. */
function burierOf({ token }: BoundedClaim): string {
  return `~${token}`;
}

function workerLost(attempts: number): LedgerError {
  const { code, message } = permanent(
    `Worker lost: the process that ran the last of ${attempts} attempts of this step went silent. Redrive the job if it was not the step's doing.`,
  );
  return { name: code, message };
}

const ENTRIES: { readonly [E in LedgerEnd['end']]: (end: Extract<LedgerEnd, { end: E }>) => LedgerEntry } = {
  done: () => ({ state: 'done', uncounted: 0, dueInMs: 0, intervalMs: undefined, error: undefined }),
  retry: ({ delayMs, intervalMs, error }) => ({
    state: 'open',
    uncounted: 0,
    dueInMs: Math.ceil(delayMs),
    intervalMs: intervalMs && Math.ceil(intervalMs),
    error: cut(error),
  }),
  dead: ({ error }) => ({ state: 'dead', uncounted: 0, dueInMs: 0, intervalMs: undefined, error: cut(error) }),
  'hand-back': () => ({ state: 'open', uncounted: 1, dueInMs: 0, intervalMs: undefined, error: undefined }),
};

function entryOf<E extends LedgerEnd['end']>(end: Extract<LedgerEnd, { end: E }>): LedgerEntry {
  return ENTRIES[end.end as E](end);
}

function cut({ name, message }: LedgerError): LedgerError {
  return { name: name.slice(0, MAX_ERROR_LENGTH), message: message.slice(0, MAX_ERROR_LENGTH) };
}

function isRepeat(row: LedgerRow | undefined, token: string, entry: LedgerEntry): boolean {
  return row !== undefined && !row.held && row.token === token && row.state === entry.state;
}
