import { SteppingError } from '@stepping/core';
import type { MigrationInterface, QueryRunner } from 'typeorm';
import { applyOnMysql } from './migrate-mysql.js';
import { createRecordTable, insertRecord, selectRecord } from './migration-records.js';
import { at, type Migration, type Migrations } from './migrations.js';

/** TypeORM wants a timestamp at the end of a migration's name, and applies in its order. */
const FIRST_TIMESTAMP = 1_760_000_000_000;

/** The same numbered list as migrations of TypeORM, for those who apply all schema changes themselves: `migrations: […yours, ...steppingBarrierMigrations()]`. */
export function toTypeormMigrations(migrations: Migrations): (new () => MigrationInterface)[] {
  return migrations.list.map((migration) => typeormMigration(migrations, migration));
}

function typeormMigration(migrations: Migrations, migration: Migration): new () => MigrationInterface {
  const name = `Stepping${migrations.owner[0]?.toUpperCase()}${migrations.owner.slice(1)}${migration.name}${FIRST_TIMESTAMP + migration.version}`;
  return class implements MigrationInterface {
    readonly name = name;

    async up(runner: QueryRunner): Promise<void> {
      const place = at(runner.dataSource, migrations);
      if (place.dialect === 'postgres' && place.schema !== undefined) await runner.createSchema(place.schema, true);
      await runner.query(createRecordTable(place, migrations));
      if ((await runner.query(selectRecord(place, migrations), [migrations.owner, migration.version])).length > 0) return; // by runMigrations, before
      if (place.dialect === 'mysql') return applyOnMysql((sql, values) => runner.query(sql, values), place, migrations, migration);
      for (const statement of migration.statements(place)) await runner.query(statement);
      await runner.query(insertRecord(place, migrations), [migrations.owner, migration.version, migration.name]);
    }

    async down(): Promise<void> {
      throw new SteppingError(
        'STORE_REFUSED',
        `${name} is not reverted: it would destroy jobs that wait. Drop the tables by hand if you mean it.`,
        { name },
      );
    }
  };
}
