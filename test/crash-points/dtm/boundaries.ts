import type { DtmServer } from '../../../packages/tm-dtm/src/dtm-server.js';
import { callsToCover, LEDGER, PROVIDER, TRANSACTION, type Treatment } from '../boundaries.js';

// As in `../boundaries.ts`: what is asked of a DTM server, and what it asks.

export const SERVER = {
  prepare: 'call',
  submit: 'call',
  abort: 'call',
  forceStop: 'call',
  query: 'call',
  all: 'call',
  version: 'local',
} as const satisfies Record<keyof DtmServer, Treatment>;

/** Requests of the server to a process. */
export const CALLBACK = {
  step: 'call',
  question: 'call',
  'self-test': 'local',
} as const satisfies Record<string, Treatment>;

/** Called in no scenario, and why. */
const NOT_REACHED: Readonly<Record<string, string>> = {
  'transaction.close': 'only where a rollback was not acknowledged: a second accident',
  'db.purgeBarriers': 'barriers go by age under DTM',
};

/** Every call that some scenario has to make under DTM. */
export function callsToCoverOnDtm(): string[] {
  return callsToCover({ server: SERVER, callback: CALLBACK, ledger: LEDGER, transaction: TRANSACTION, db: PROVIDER }, NOT_REACHED);
}
