import { SteppingError } from '@stepping/core';
import { checkMigrations, isDefiniteRefusal, ownDataSource, runMigrations } from '@stepping/typeorm';
import type { DataSource } from 'typeorm';
import { assertInitialized, migrationsOf, type StoreSettings } from './store-settings.js';

/** How the connections of a store on a server differ. */
export interface ServerTraits {
  /** In messages. */
  readonly name: string;
  readonly maxConnections: number;
  /** Settings of the driver's pool. */
  readonly extra?: Readonly<Record<string, unknown>>;
  /** Proves that our connections and the user's lead to the same database. */
  assertSame(own: DataSource, users: DataSource): Promise<void>;
}

/** What every store on a server does at start and stop: connects, migrates or checks, lets go. `Opened` is what there is in between. */
export abstract class ServerStore<Opened extends { readonly own: DataSource; close(): Promise<void> }> {
  protected readonly settings: StoreSettings;
  readonly #traits: ServerTraits;
  #openedNow: Opened | undefined;

  constructor(settings: StoreSettings, traits: ServerTraits) {
    this.settings = settings;
    this.#traits = traits;
  }

  protected abstract open(own: DataSource): Opened;

  async start(): Promise<void> {
    const own = await this.#connect();
    try {
      const prepare = this.settings.migrate ? runMigrations : checkMigrations;
      await prepare(own, migrationsOf(this.settings));
      await this.#traits.assertSame(own, this.settings.dataSource);
    } catch (error) {
      await own.destroy();
      throw this.#startError(error);
    }
    this.#openedNow = this.open(own);
  }

  async migrate(): Promise<void> {
    const own = await this.#connect();
    try {
      await runMigrations(own, migrationsOf(this.settings));
    } catch (error) {
      throw this.#startError(error);
    } finally {
      await own.destroy();
    }
  }

  async stop(): Promise<void> {
    const opened = this.#openedNow;
    this.#openedNow = undefined;
    if (opened === undefined) return;
    await opened.close();
    await opened.own.destroy();
  }

  /** Undefined before start and after stop. */
  protected get openedNow(): Opened | undefined {
    return this.#openedNow;
  }

  protected get opened(): Opened {
    if (this.#openedNow !== undefined) return this.#openedNow;
    throw new SteppingError('NOT_STARTED', 'The store is not started, or stopped already. Call `await stepping.start()` first.');
  }

  async #connect(): Promise<DataSource> {
    assertInitialized(this.settings);
    const { maxConnections, extra } = this.#traits;
    try {
      return await ownDataSource(this.settings.dataSource, { poolSize: maxConnections, ...(extra && { extra }) }).initialize();
    } catch (cause) {
      throw this.#unreachable(cause);
    }
  }

  #startError(error: unknown): unknown {
    if (SteppingError.is(error)) return error;
    if (!isDefiniteRefusal(error)) return this.#unreachable(error);
    return new SteppingError(
      'STORE_REFUSED',
      `${this.#traits.name} refused the store's tables: ${error instanceof Error ? error.message : error}. Grant the rights, or let somebody who has them run stepping.migrate() and use migrate: false.`,
      { cause: error },
    );
  }

  #unreachable(cause: unknown): SteppingError {
    return new SteppingError(
      'STORE_UNAVAILABLE',
      `The ${this.#traits.name} server of the store cannot be reached, or lets us not in. See the cause.`,
      {
        cause,
      },
    );
  }
}
