import { type DbProviders, type DbRef, SteppingError } from '@stepping/core';
import { registeredDatabases } from '@stepping/core/db';
import { originOf } from '@stepping/typeorm';
import type { DataSource } from 'typeorm';
import type { DatabaseTarget } from './held-transaction.js';
import { PROVIDER, type TypeormDbProvider } from './typeorm-db-provider.js';

/** A database that `typeormDb` registered. */
export interface FoundDatabase {
  readonly provider: TypeormDbProvider;
  readonly ref: DbRef;
  readonly dataSource: DataSource;
}

/**
 * The registered database of a DataSource, or of a name. With a DataSource it is surely that one: whoever asks later, after a crash, must ask the database that
 * has the barrier.
 *
 * @throws {@link SteppingError} `DB_UNKNOWN`, `DB_MISMATCH`
 */
export async function findDatabase(
  providers: Pick<DbProviders, 'all'>,
  dataSource: DataSource | undefined,
  target: DatabaseTarget,
): Promise<FoundDatabase> {
  const known = providers.all().filter((provider): provider is TypeormDbProvider => provider.provider === PROVIDER);
  if (target.db === undefined && dataSource !== undefined) return byDataSource(known, dataSource, target.tenant);

  const name = target.db ?? 'default';
  const provider = known.find((one) => one.name === name);
  if (provider === undefined) {
    throw new SteppingError(
      'DB_UNKNOWN',
      `No database is called '${name}'. Add typeormDb({ name: '${name}', dataSource }) to \`use\` of createStepping; ${registeredDatabases(known)}.`,
      { name },
    );
  }
  const registered = await provider.dataSourceOf(target.tenant);
  if (dataSource !== undefined && originOf(dataSource) !== originOf(registered)) {
    throw new SteppingError(
      'DB_MISMATCH',
      `The transaction is on another DataSource than the one registered as '${name}'${target.tenant === undefined ? '' : ` for tenant '${target.tenant}'`}: after a crash the wrong database would be asked. Name the right one in { db, tenant }, or begin the transaction on the registered DataSource.`,
      { name, tenant: target.tenant },
    );
  }
  return { provider, ref: provider.refOf(target.tenant), dataSource: registered };
}

async function byDataSource(
  known: readonly TypeormDbProvider[],
  dataSource: DataSource,
  tenant: string | undefined,
): Promise<FoundDatabase> {
  let cause: unknown;
  for (const provider of known) {
    if (provider.perTenant && tenant === undefined) continue;
    try {
      const registered = await provider.dataSourceOf(tenant);
      if (originOf(registered) === originOf(dataSource)) return { provider, ref: provider.refOf(tenant), dataSource: registered };
    } catch (error) {
      cause = error; // a tenant that another provider does not have
    }
  }
  throw new SteppingError(
    'DB_UNKNOWN',
    `This DataSource is no registered database. Add typeormDb({ dataSource }) with this very DataSource object to \`use\` of createStepping; ${registeredDatabases(known)}.`,
    cause === undefined ? {} : { cause },
  );
}
