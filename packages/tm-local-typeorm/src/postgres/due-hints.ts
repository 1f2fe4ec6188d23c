import { setTimeout as sleep } from 'node:timers/promises';
import { closeConnection, type QuotedName, quoteName } from '@stepping/typeorm';
import type { DataSource, QueryRunner } from 'typeorm';
import type { PostgresClient } from './postgres-lane.js';
import { tableHash } from './table-hash.js';

/** Between two hints; a hint inside the committing transaction would make all commits of the database wait for one another. Unit: ms. */
const MIN_INTERVAL_MS = 5;
/** Before a lost connection is opened anew. Unit: ms. */
const RECONNECT_MS = 1_000;

/**
 * Tells other processes that jobs became due (NOTIFY) and hears it from them (LISTEN), on a connection of its own. Only hints: whatever goes wrong here costs a poll.
 */
export class DueHints {
  readonly #dataSource: DataSource;
  readonly #channel: QuotedName;
  readonly #listeners = new Set<() => void>();
  #runner: QueryRunner | undefined;
  #connecting: Promise<PostgresClient> | undefined;
  #keepingOpen = false;
  #wanted = false;
  #sending = false;
  #stopped = false;

  /** Channels are of the whole database, so its name stands for the table. */
  constructor(dataSource: DataSource, table: QuotedName) {
    this.#dataSource = dataSource;
    this.#channel = quoteName('postgres', `stepping_due_${tableHash(table)}`);
  }

  onDue(listener: () => void): () => void {
    this.#listeners.add(listener);
    void this.#keepOpen();
    return () => this.#listeners.delete(listener);
  }

  hint(): void {
    this.#wanted = true;
    void this.#send();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#listeners.clear();
    if (this.#runner !== undefined) await closeConnection(this.#runner, undefined);
  }

  async #send(): Promise<void> {
    if (this.#sending) return;
    this.#sending = true;
    while (this.#wanted && !this.#stopped) {
      this.#wanted = false;
      const sent = await this.#notify();
      await sleep(sent ? MIN_INTERVAL_MS : RECONNECT_MS, undefined, { ref: false });
    }
    this.#sending = false;
  }

  async #notify(): Promise<boolean> {
    try {
      await (await this.#connect()).query(`notify ${this.#channel}`);
      return true;
    } catch {
      return false;
    }
  }

  /** Listens for as long as somebody wants to hear. */
  async #keepOpen(): Promise<void> {
    if (this.#keepingOpen) return;
    this.#keepingOpen = true;
    while (this.#listeners.size > 0) {
      try {
        const client = await this.#connect();
        const lost = new Promise<void>((resolve) => client.on('end', () => resolve()));
        client.on('notification', (message: { processId: number }) => {
          if (message.processId !== client.processID) this.#tellAll(); // our own processor was told directly
        });
        await client.query(`listen ${this.#channel}`);
        this.#tellAll(); // nobody was listening until now
        await lost;
      } catch {
        // tried again below
      }
      if (this.#listeners.size > 0) await sleep(RECONNECT_MS, undefined, { ref: false });
    }
    this.#keepingOpen = false;
  }

  #tellAll(): void {
    for (const listener of this.#listeners) listener();
  }

  #connect(): Promise<PostgresClient> {
    if (this.#stopped) return Promise.reject(new Error('stopped'));
    if (this.#runner !== undefined && !this.#runner.isReleased) return this.#runner.connect();
    this.#connecting ??= this.#open().finally(() => {
      this.#connecting = undefined;
    });
    return this.#connecting;
  }

  async #open(): Promise<PostgresClient> {
    const runner = this.#dataSource.createQueryRunner('master');
    const client: PostgresClient = await runner.connect();
    // A hint is a commit for the server, which would flush its log before anybody hears of it.
    await client.query('set synchronous_commit = off').catch(() => {}); // what is wrong shows in the first hint
    this.#runner = runner;
    if (this.#stopped) await closeConnection(runner, undefined);
    return client;
  }
}
