import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, it } from '@jest/globals';
import type { DbRef } from '@stepping/core';
import { type Dialect, dialectOf } from '@stepping/typeorm';
import { DataSource } from 'typeorm';
import { dumpMysql, dumpPostgres, dumpSqlite } from '../../tm-local-typeorm/test/dump-schema.js';
import { steppingBarrierMigrations } from '../src/index.js';
import { TypeormDbProvider } from '../src/typeorm-db-provider.js';
import { mysqls, postgres, sqlite } from './support/databases.js';

const DUMP: Record<Dialect, (dataSource: DataSource) => Promise<string>> = { sqlite: dumpSqlite, postgres: dumpPostgres, mysql: dumpMysql };
const REF: DbRef = { provider: 'typeorm', name: 'default' };

const opened: DataSource[] = [];
const providers: TypeormDbProvider[] = [];

afterEach(async () => {
  for (const provider of providers.splice(0)) await provider.close();
  for (const dataSource of opened.splice(0)) await dataSource.destroy();
});

for (const database of [sqlite, postgres, ...mysqls]) {
  const open = async () => {
    const dataSource = await database.open({ entities: [], synchronize: false });
    opened.push(dataSource);
    return dataSource;
  };
  const started = async (dataSource: DataSource) => {
    const provider = new TypeormDbProvider({ dataSource });
    providers.push(provider);
    await provider.start();
    return provider;
  };
  const shipped = (dataSource: DataSource, version = '.') =>
    readFileSync(join(import.meta.dirname, '../schema', version, `${dialectOf(dataSource)}.sql`), 'utf8');
  const dump = (dataSource: DataSource) => DUMP[dialectOf(dataSource)](dataSource);

  database.describe(`the tables on ${database.name}`, () => {
    it('are the ones that are shipped, made at start or by TypeORM migrations', async () => {
      const dataSource = await open();
      await started(dataSource);
      expect(await dump(dataSource)).toBe(shipped(dataSource));

      const byMigrations = await open();
      const users = await new DataSource({ ...byMigrations.options, migrations: steppingBarrierMigrations() }).initialize();
      await users.runMigrations();
      await users.query('drop table migrations'); // of TypeORM itself
      await users.destroy();
      expect(await dump(byMigrations)).toBe(shipped(byMigrations));
      await started(byMigrations);
      expect(await dump(byMigrations)).toBe(shipped(byMigrations));
    });

    it.each([1, 2])(
      'are upgraded from schema %d with barriers in it, which say what they said, and are purged with their jobs',
      async (version) => {
        const dataSource = await open();
        for (const statement of shipped(dataSource, `${version}`).split(/;\n/))
          if (statement.trim() !== '') await dataSource.query(statement);
        for (const name of ['CreateBarrierTable', 'IndexEffects'].slice(0, version)) {
          const made = name === 'CreateBarrierTable' ? 1 : 2;
          await dataSource.query(`insert into stepping_migration (owner, version, name) values ('barrier', ${made}, '${name}')`);
        }
        for (const [gid, reason] of [
          ['committed', 'msg'],
          ['rolled-back', 'rollback'],
        ]) {
          await dataSource.query(
            `insert into stepping_barrier (trans_type, gid, branch_id, op, barrier_id, reason, created_at) values ('msg', '${gid}', '00', 'msg', 'i', '${reason}', '2020-01-01 00:00:00')`,
          );
        }

        const provider = await started(dataSource);
        expect(await dump(dataSource)).toBe(shipped(dataSource));
        const answers = ['committed', 'rolled-back', 'never-begun'].map((gid) => provider.resolveInDoubt(gid, 'i', REF));
        expect(await Promise.all(answers)).toEqual(['committed', 'rolled-back', 'rolled-back']);
        expect(await provider.hasCommitted('committed', 'i', REF)).toBe(true);
        await provider.purgeBarriers(['committed', 'rolled-back', 'never-begun'], REF);
        // The one that the question left is young, and stays.
        expect(await dataSource.query('select gid from stepping_barrier')).toEqual([{ gid: 'never-begun' }]);
      },
    );

    it('are asked for by who counts an attempt in the database of a tenant that was never migrated', async () => {
      const dataSource = await open();
      const provider = new TypeormDbProvider({ name: 'tenants', resolve: () => dataSource });
      providers.push(provider);
      await provider.start();
      const key = { gid: 'gid', instance: 'i', position: 0, token: 'one' };
      const ref = provider.refOf('acme');
      const refused = { code: 'STORE_REFUSED', message: expect.stringContaining('stepping.migrate({ tenant })') };
      const claim = { ...key, generation: 0, maxAttempts: undefined, leaseMs: 10_000 };
      await expect(provider.ledger.begin(claim, ref)).rejects.toMatchObject(refused);
      await expect(provider.ledger.end(key, { end: 'done' }, ref)).rejects.toMatchObject(refused);
      await expect(provider.ledger.read('gid', 'i', ref)).rejects.toMatchObject(refused);
      await provider.migrate({ tenant: 'acme' });
      expect(await provider.ledger.begin(claim, ref)).toMatchObject({ answer: 'begun', attempt: 1 });
    });
  });
}
