import { type DbProviders, type DbRef, SteppingError } from '@stepping/core';
import { registeredDatabases } from '@stepping/core/db';
import type { Connection } from 'mongoose';
import { isOpen } from './connected.js';
import { type MongooseDbProvider, PROVIDER } from './mongoose-db-provider.js';

/** Which registered database is meant. */
export interface DatabaseTarget {
  /** Its connection. */
  readonly connection?: Connection | undefined;
  /** Its name, as given to `mongooseDb`. Default: the one that was registered with this connection; without one, `'default'`. */
  readonly db?: string | undefined;
  /** Where there is a database per tenant. */
  readonly tenant?: string | undefined;
}

/** A connection, or more words about which one. */
export function asTarget<T extends DatabaseTarget>(target: Connection | T): DatabaseTarget | T {
  return 'startSession' in target ? { connection: target as Connection } : (target as T);
}

/** A database that `mongooseDb` registered. */
export interface FoundDatabase {
  readonly provider: MongooseDbProvider;
  readonly ref: DbRef;
  readonly connection: Connection;
}

/**
 * The registered database of a connection, or of a name. With a connection it is surely that one: whoever asks later, after a crash, must ask the database that has the barrier.
 *
 * @throws {@link SteppingError} `DB_UNKNOWN`, `DB_MISMATCH`, `STORE_UNAVAILABLE`
 */
export async function findDatabase(providers: Pick<DbProviders, 'all'>, target: DatabaseTarget): Promise<FoundDatabase> {
  const known = providers.all().filter((one): one is MongooseDbProvider => one.provider === PROVIDER);
  const { connection, tenant } = target;
  if (connection !== undefined) assertConnected(connection);
  if (target.db === undefined && connection !== undefined) return byConnection(known, connection, tenant);

  const name = target.db ?? 'default';
  const provider = known.find((one) => one.name === name);
  if (provider === undefined) {
    throw new SteppingError(
      'DB_UNKNOWN',
      `No database is called '${name}'. Add mongooseDb({ name: '${name}', connection }) to \`use\` of createStepping; ${registeredDatabases(known)}.`,
      { name },
    );
  }
  const registered = await provider.connectionOf(tenant);
  if (connection !== undefined && !isSameDatabase(connection, registered)) {
    throw new SteppingError(
      'DB_MISMATCH',
      `This connection is to another database, or through another client, than the one registered as '${name}'${ofTenant(tenant)}: after a crash the wrong database would be asked. Name the right one in { db, tenant }, or use the registered connection.`,
      { name, tenant },
    );
  }
  return { provider, ref: provider.refOf(tenant), connection: registered };
}

function assertConnected(connection: Connection): void {
  if (isOpen(connection)) return;
  throw new SteppingError(
    'STORE_UNAVAILABLE',
    `The connection to ${JSON.stringify(connection.name ?? 'a database')} is closed, or not connected yet. Nothing was written; await connection.asPromise(), or open it again.`,
  );
}

/** Sure only for one client object: equal URLs may lead to other servers tomorrow. Connections by `useDb` share the client. */
export function isSameDatabase(one: Connection, other: Connection): boolean {
  return one === other || (one.name === other.name && one.getClient() !== undefined && one.getClient() === other.getClient());
}

export function ofTenant(tenant: string | undefined): string {
  return tenant === undefined ? '' : ` for tenant '${tenant}'`;
}

async function byConnection(
  known: readonly MongooseDbProvider[],
  connection: Connection,
  tenant: string | undefined,
): Promise<FoundDatabase> {
  let cause: unknown;
  for (const provider of known) {
    if (provider.perTenant && tenant === undefined) continue;
    try {
      const registered = await provider.connectionOf(tenant);
      if (isSameDatabase(connection, registered)) return { provider, ref: provider.refOf(tenant), connection: registered };
    } catch (error) {
      cause = error; // one that is down, or does not have this tenant
    }
  }
  throw new SteppingError(
    'DB_UNKNOWN',
    `This connection (to ${JSON.stringify(connection.name)}) is no registered database. Add mongooseDb({ connection }) with it to \`use\` of createStepping; ${registeredDatabases(known)}.`,
    cause === undefined ? {} : { cause },
  );
}
