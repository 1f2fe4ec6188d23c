import { strict as assert } from 'node:assert';
import { it } from '@jest/globals';
import { testService } from '@stepping/test-services';
import pg from 'pg';

const postgres = await testService('postgres');

postgres.describe('the PostgreSQL of the tests', () => {
  it('gives every caller an empty database with durability on', async () => {
    const [one, other] = await Promise.all([postgres.database(), postgres.database('second')]);
    assert.notEqual(one, other);

    const client = new pg.Client({ connectionString: one });
    await client.connect();
    const fsync = await client.query('show fsync');
    const tables = await client.query("select count(*)::int as n from pg_tables where schemaname = 'public'");
    await client.end();

    assert.equal(fsync.rows[0].fsync, 'on');
    assert.equal(tables.rows[0].n, 0);
  });
});
