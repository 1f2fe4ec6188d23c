import { type DbProvider, type DbProviders, type DbRef, type NewJob, SteppingError } from '@stepping/core';

/**
 * The database that remembers what became of a job's steps: that of its transaction, or {@link ownLedger}. Undefined: none, so attempts are counted by nobody.
 *
 * @throws {@link SteppingError} `CONFIG_INVALID` if a step of it has bounded attempts then.
 */
export function ledgerOf(job: NewJob, databases: DbProviders, bounded: readonly string[]): DbRef | undefined {
  const { db, tenant, gid } = job;
  if (db && databases.find(db)?.ledger) return db;
  const own = ownLedger(databases, tenant);
  if (own) return own;
  const step = job.steps.find(({ name }) => bounded.includes(name));
  if (step)
    throw noLedger(`Step ${step.name} of job ${gid}`, tenant === undefined ? 'a database that is not one per tenant' : 'a database');
  return undefined;
}

/** The first database of this process that can keep a ledger. One database rather than one per tenant, which serves only jobs of a tenant. */
export function ownLedger(databases: DbProviders, tenant: string | undefined): DbRef | undefined {
  const able = databases.all().filter((database) => database.ledger && (tenant !== undefined || !database.perTenant));
  const chosen = able.find((database) => !database.perTenant) ?? able[0];
  return chosen && refOf(chosen, tenant);
}

/** @throws {@link SteppingError} `CONFIG_INVALID` if steps of this process have bounded attempts and no database can count them. */
export function assertLedger(databases: DbProviders, bounded: readonly string[]): void {
  const [step] = bounded;
  if (step !== undefined && !databases.all().some(({ ledger }) => ledger)) throw noLedger(`Step ${step}`, 'a database');
}

function refOf({ provider, name, perTenant }: DbProvider, tenant: string | undefined): DbRef {
  return { provider, name, ...(perTenant && tenant !== undefined ? { tenant } : {}) };
}

function noLedger(what: string, database: string): SteppingError<'CONFIG_INVALID'> {
  return new SteppingError(
    'CONFIG_INVALID',
    `${what} has a bounded number of attempts (retry.maxAttempts), but DTM counts none and there is no database to count them in. Add ${database}, typeormDb(…) of @stepping/db-typeorm or mongooseDb(…) of @stepping/db-mongoose, to use: […] of createStepping, or leave maxAttempts out.`,
  );
}
