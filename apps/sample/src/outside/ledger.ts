import { appendFileSync, fsyncSync, openSync } from 'node:fs';
import { readJsonLines } from './json-lines.js';

/** What a client asks to be charged. */
export interface Charge {
  readonly reference: string;
  readonly amount: number;
}

/** A line of the ledger. `received` without a later `answered` or `abandoned` of the same request: it is open. Times in ms since 1970. */
export type LedgerLine =
  | ({ readonly what: 'received'; readonly at: number; readonly request: string; readonly key: string } & Charge)
  | ({ readonly what: 'charged'; readonly at: number; readonly request: string; readonly key: string } & Charge)
  | { readonly what: 'answered'; readonly at: number; readonly request: string; readonly status: number }
  | { readonly what: 'abandoned'; readonly at: number; readonly request: string };

/** What happened at the payment provider, line by line in a file. A charge is on disk before anybody is told of it. */
export class Ledger {
  readonly #descriptor: number;
  readonly #charges = new Map<string, Charge>();

  constructor(file: string) {
    for (const line of readJsonLines<LedgerLine>(file)) if (line.what === 'charged') this.#charges.set(line.key, line);
    this.#descriptor = openSync(file, 'a');
  }

  received(request: string, key: string, charge: Charge): void {
    this.#append({ what: 'received', at: Date.now(), request, key, reference: charge.reference, amount: charge.amount });
  }

  /** Charges the card, once per key. */
  charge(request: string, key: string, charge: Charge): 'charged' | 'charged before' | 'another charge has this key' {
    const before = this.#charges.get(key);
    if (before) {
      const same = before.reference === charge.reference && before.amount === charge.amount;
      return same ? 'charged before' : 'another charge has this key';
    }
    this.#append({ what: 'charged', at: Date.now(), request, key, reference: charge.reference, amount: charge.amount });
    fsyncSync(this.#descriptor);
    this.#charges.set(key, charge);
    return 'charged';
  }

  answered(request: string, status: number): void {
    this.#append({ what: 'answered', at: Date.now(), request, status });
  }

  /** The client went away before it was answered. */
  abandoned(request: string): void {
    this.#append({ what: 'abandoned', at: Date.now(), request });
  }

  #append(line: LedgerLine): void {
    appendFileSync(this.#descriptor, `${JSON.stringify(line)}\n`);
  }
}
