import type { DbProviders, DbRef, EventEmitter, InDoubtAnswer, Logger } from '@stepping/core';
import { DONE, LATER, ROLLED_BACK } from './answer.js';
import type { Question } from './step-message.js';

/** Questions to one database at a time: each may hold a connection while it waits for an open transaction. */
const PLACES_PER_DATABASE = 2;
/** A job that is prepared for longer than this is told of. Unit: ms. */
const PREPARED_TOO_LONG_MS = 60_000;

interface QuestionCallbacksDeps {
  readonly databases: DbProviders;
  readonly events: EventEmitter;
  readonly log: Required<Logger>;
  /** After this DTM no longer waits for an answer. Unit: ms. */
  readonly patienceMs: number;
}

/** Query-back: DTM asks what became of the business transaction of a message that is still prepared, and the database decides. Anything unsure is asked again, never decided (R1). */
export class QuestionCallbacks {
  readonly #deps: QuestionCallbacksDeps;
  readonly #asking = new Map<string, number>();

  constructor(deps: QuestionCallbacksDeps) {
    this.#deps = deps;
  }

  /** `since`: how long ago the question came. */
  async answer(question: Question, since: () => number): Promise<number> {
    const { events } = this.#deps;
    const { gid, tenant, db } = question;
    // Without a business transaction it was meant to be submitted, and only the word of it got lost.
    const verdict = db ? await this.#ask(question, db, since) : 'committed';
    switch (verdict) {
      case 'committed':
        events.emit('job.submitted', { gid, tenant });
        return DONE;
      case 'rolled-back':
        events.emit('job.rolled-back', { gid, tenant });
        return ROLLED_BACK;
      case 'unknown':
        this.#tellIfTooLong(question);
        return LATER;
    }
  }

  async #ask({ gid, instance }: Question, db: DbRef, since: () => number): Promise<InDoubtAnswer> {
    const provider = this.#deps.databases.find(db);
    if (!provider) {
      this.#deps.log.error(
        'a prepared job names a database that this process does not have; give it to use: […], or route its callbacks to one that has it',
        {
          gid,
          db,
          code: 'DB_UNKNOWN',
        },
      );
      return 'unknown';
    }
    const key = JSON.stringify([db.provider, db.name, db.tenant]);
    const asking = this.#asking.get(key) ?? 0;
    if (asking >= PLACES_PER_DATABASE) return 'unknown';
    this.#asking.set(key, asking + 1);
    const asked = provider.resolveInDoubt(gid, instance, db).finally(() => this.#leave(key));
    return this.#inTime(asked, since);
  }

  /** Past DTM's patience nobody hears the verdict; it will be the same one when DTM asks again. */
  async #inTime(asked: Promise<InDoubtAnswer>, since: () => number): Promise<InDoubtAnswer> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<'unknown'>((resolve) => {
      timer = setTimeout(resolve, Math.max(0, this.#deps.patienceMs - since()), 'unknown');
    });
    try {
      return await Promise.race([asked, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  #leave(key: string): void {
    const left = (this.#asking.get(key) ?? 1) - 1;
    if (left === 0) this.#asking.delete(key);
    else this.#asking.set(key, left);
  }

  #tellIfTooLong({ gid, tenant, db, at }: Question): void {
    const ageMs = Date.now() - at;
    if (ageMs < PREPARED_TOO_LONG_MS) return;
    this.#deps.log.warn('a job has been prepared for a minute or more: its transaction is still open, or its database cannot be asked', {
      gid,
      ageMs,
      db,
    });
    this.#deps.events.emit('job.prepared-too-long', { gid, tenant });
  }
}
