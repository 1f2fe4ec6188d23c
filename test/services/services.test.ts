import { strict as assert } from 'node:assert';
import { it } from '@jest/globals';
import { testService } from '@stepping/test-services';
import mongoose from 'mongoose';
import mysql from 'mysql2/promise';
import pg from 'pg';

const postgres = await testService('postgres');
const mariadb = await testService('mariadb');
const mongodb = await testService('mongodb');

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

mariadb.describe('the MariaDB of the tests', () => {
  it('gives every caller an empty database with durability on', async () => {
    const [one, other] = await Promise.all([mariadb.database(), mariadb.database('second')]);
    assert.notEqual(one, other);

    const connection = await mysql.createConnection(one);
    const [[durability]] = await connection.query<mysql.RowDataPacket[]>('select @@innodb_flush_log_at_trx_commit as flush');
    const [tables] = await connection.query<mysql.RowDataPacket[]>('show tables');
    await connection.end();

    assert.equal(durability?.flush, 1);
    assert.deepEqual(tables, []);
  });
});

mongodb.describe('the MongoDB of the tests', () => {
  it('gives every caller an empty database of a replica set', async () => {
    const [one, other] = await Promise.all([mongodb.database(), mongodb.database('second')]);
    assert.notEqual(one, other);

    const connection = await mongoose.createConnection(one).asPromise();
    const hello = await connection.db?.admin().command({ hello: 1 });
    const collections = await connection.listCollections();
    const written = await connection.transaction((session) =>
      connection.collection('tried').insertOne({ in: 'a transaction' }, { session }),
    );
    await connection.close();

    assert.equal(typeof hello?.setName, 'string');
    assert.deepEqual(collections, []);
    assert.equal(written.acknowledged, true);
  });
});
