import { type Migrations, toTypeormMigrations } from '@stepping/typeorm';
import type { MigrationInterface } from 'typeorm';
import { createBarrierTable } from './sql/create-barrier-table.js';
import { createLedgerTable } from './sql/create-ledger-table.js';
import { indexEffects } from './sql/index-effects.js';
import { indexLedger } from './sql/index-ledger.js';
import { BARRIER, LEDGER } from './tables.js';

export const barrierMigrations: Migrations = {
  owner: 'barrier',
  recordTable: 'stepping_migration',
  list: [
    {
      version: 1,
      name: 'CreateBarrierTable',
      statements: ({ dialect, table }) => [createBarrierTable({ dialect, name: table(BARRIER) })],
    },
    {
      version: 2,
      name: 'IndexEffects',
      statements: ({ dialect, table }) => [indexEffects({ dialect, name: table(BARRIER) })],
    },
    {
      version: 3,
      name: 'CreateLedgerTable',
      statements: ({ dialect, table }) => {
        const ledger = { dialect, name: table(LEDGER) };
        return [createLedgerTable(ledger), indexLedger(ledger)];
      },
    },
  ],
};

/**
 * The tables of barriers and of the ledger as TypeORM migrations, for those who apply all schema changes themselves. Add them to your DataSource's `migrations` and run them before
 * the first `stepping.start()`, which then changes nothing.
 *
 * @example new DataSource({ …, migrations: [...myMigrations, ...steppingBarrierMigrations()] })
 */
export function steppingBarrierMigrations(): (new () => MigrationInterface)[] {
  return toTypeormMigrations(barrierMigrations);
}
