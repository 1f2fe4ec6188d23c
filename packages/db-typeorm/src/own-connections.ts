import { type OwnDataSourceOptions, ownDataSource } from '@stepping/typeorm';
import type { DataSource } from 'typeorm';

/** Connections of our own to a database of the user's: neither their pool nor their transactions are in the way. */
export class OwnConnections {
  readonly #users: DataSource;
  readonly #options: OwnDataSourceOptions;
  #own: Promise<DataSource> | undefined;
  #closed = false;

  constructor(users: DataSource, options: OwnDataSourceOptions) {
    this.#users = users;
    this.#options = options;
  }

  /** Connects when first asked, and again after a failure: a database that is down now may be up when the next question comes. */
  async get(): Promise<DataSource> {
    if (this.#closed) throw new Error('Closed: the app was stopped, or the credentials of the database were changed');
    this.#own ??= ownDataSource(this.#users, this.#options)
      .initialize()
      .catch((error: unknown) => {
        this.#own = undefined;
        throw error;
      });
    return this.#own;
  }

  async close(): Promise<void> {
    this.#closed = true;
    const own = await this.#own?.catch(() => undefined);
    this.#own = undefined;
    await own?.destroy();
  }
}
