import type { DbProvider, DbProviders, DbRef } from './db-transaction.js';
import { SteppingError } from './stepping-error.js';

/** The databases of one app, by provider and name. */
export class KnownDbProviders implements DbProviders {
  readonly #providers = new Map<string, DbProvider>();

  add(provider: DbProvider): void {
    const key = `${provider.provider}/${provider.name}`;
    if (this.#providers.has(key)) {
      throw new SteppingError(
        'CONFIG_INVALID',
        `Two databases of ${provider.provider} are called ${JSON.stringify(provider.name)}. Give each a name of its own; it is stored in prepared jobs and never changes.`,
        { provider: provider.provider, name: provider.name },
      );
    }
    this.#providers.set(key, provider);
  }

  find(ref: DbRef): DbProvider | undefined {
    return this.#providers.get(`${ref.provider}/${ref.name}`);
  }

  all(): readonly DbProvider[] {
    return [...this.#providers.values()];
  }
}
