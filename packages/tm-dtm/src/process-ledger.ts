import type { LedgerAnswer, LedgerClaim, LedgerEnd, LedgerError, LedgerKey, LedgerRecord, StepLedger } from '@stepping/core';

/** Steps remembered; the one that was untouched for longest goes first. */
const MAX_STEPS = 10_000;
const DAY_MS = 86_400_000;

interface Row {
  readonly key: LedgerKey;
  readonly generation: number;
  readonly state: 'open' | 'done' | 'dead';
  readonly attempts: number;
  /** Of who holds the step, or of who let go of it last. */
  readonly token: string;
  readonly held: boolean;
  /** Whose claim found the attempts used up. */
  readonly buriedBy?: string;
  /** Until then it is held, or not before then the next attempt may begin. On the monotonic clock. Unit: ms. */
  readonly dueAt: number;
  readonly intervalMs: number | undefined;
  readonly lastError: LedgerError | undefined;
}

const ENDS_IN: { readonly [E in LedgerEnd['end']]: Row['state'] } = { done: 'done', dead: 'dead', retry: 'open', 'hand-back': 'open' };

/**
 * For jobs of apps without a database that keeps a ledger: this process remembers what it can, for as long as it lives. So attempts begin at 1 again after a restart and in each replica, and
 * that they are used up cannot be promised: who wants a finite `maxAttempts` is told so at `start()`.
 */
export class ProcessLedger implements StepLedger {
  readonly retentionMs: number = 30 * DAY_MS;
  readonly #rows = new Map<string, Row>();

  async begin(claim: LedgerClaim): Promise<LedgerAnswer> {
    const { gid, instance, position, generation, token, maxAttempts = Number.POSITIVE_INFINITY, leaseMs } = claim;
    const now = performance.now();
    const found = this.#find(claim);
    if (found && found.generation > generation) return { answer: 'dead' };
    if (found?.state === 'done') return { answer: 'done' };
    // A redrive begins anew.
    const row = found?.generation === generation ? found : undefined;
    if (row?.state === 'dead') return row.buriedBy === token ? { answer: 'dead', buried: true } : { answer: 'dead' };
    if (row?.held && row.token === token) {
      this.#put({ ...row, dueAt: now + leaseMs });
      return { answer: 'begun', attempt: row.attempts, intervalMs: row.intervalMs };
    }
    if (found && (found.held || row) && found.dueAt > now) return { answer: 'wait', inMs: found.dueAt - now };
    // It has ended: this claim of it comes late.
    if (row?.token === token) return { answer: 'wait', inMs: 0 };
    if (row && row.attempts >= maxAttempts) {
      const error = row.held
        ? { name: 'STEP_PERMANENT', message: `Worker lost: who ran the last of ${maxAttempts} attempts went silent.` }
        : row.lastError;
      this.#put({ ...row, buriedBy: token, state: 'dead', held: false, dueAt: now, lastError: error });
      return { answer: 'dead', buried: true };
    }
    const { attempts, intervalMs } = row ?? { attempts: 0, intervalMs: undefined };
    const key = { gid, instance, position };
    this.#put({
      key,
      generation,
      state: 'open',
      attempts: attempts + 1,
      token,
      held: true,
      dueAt: now + leaseMs,
      intervalMs,
      lastError: found?.lastError,
    });
    return { answer: 'begun', attempt: attempts + 1, intervalMs };
  }

  async extend(key: LedgerKey & { readonly token: string }, leaseMs: number): Promise<boolean> {
    const row = this.#find(key);
    if (!row?.held || row.token !== key.token) return false;
    this.#put({ ...row, dueAt: performance.now() + leaseMs });
    return true;
  }

  async end(key: LedgerKey & { readonly token: string }, end: LedgerEnd): Promise<boolean> {
    const row = this.#find(key);
    if (row?.token !== key.token) return false;
    // The same end once more; a row that somebody buried was ended by nobody.
    if (!row.held) return row.state === ENDS_IN[end.end] && row.buriedBy === undefined;
    const now = performance.now();
    const ended = { ...row, held: false, dueAt: now };
    switch (end.end) {
      case 'done':
        this.#put({ ...ended, state: 'done' });
        break;
      case 'retry':
        this.#put({ ...ended, dueAt: now + end.delayMs, intervalMs: end.intervalMs, lastError: end.error });
        break;
      case 'dead':
        this.#put({ ...ended, state: 'dead', lastError: end.error });
        break;
      case 'hand-back':
        this.#put({ ...ended, attempts: row.attempts - 1 });
        break;
    }
    return true;
  }

  async read(gid: string, instance: string): Promise<readonly LedgerRecord[]> {
    const rows = [...this.#rows.values()].filter(({ key }) => key.gid === gid && key.instance === instance);
    return rows
      .sort((a, b) => a.key.position - b.key.position)
      .map(({ key, generation, state, attempts, held, lastError, dueAt }) => ({
        position: key.position,
        generation,
        state,
        attempts,
        held,
        lastError,
        dueAt: state === 'open' ? new Date(Date.now() + dueAt - performance.now()) : undefined,
      }));
  }

  #find({ gid, instance, position }: LedgerKey): Row | undefined {
    return this.#rows.get(keyOf(gid, instance, position));
  }

  #put(row: Row): void {
    const { gid, instance, position } = row.key;
    const key = keyOf(gid, instance, position);
    this.#rows.delete(key);
    this.#rows.set(key, row);
    if (this.#rows.size > MAX_STEPS) this.#rows.delete(this.#rows.keys().next().value as string);
  }
}

function keyOf(gid: string, instance: string, position: number): string {
  return `${gid}/${instance}/${position}`;
}
