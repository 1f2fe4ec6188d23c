import { strict as assert } from 'node:assert';
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { it } from '@jest/globals';
import { startDtm, testService } from '@stepping/test-services';
import mongoose from 'mongoose';
import mysql from 'mysql2/promise';
import pg from 'pg';

const postgres = await testService('postgres');
const mariadb = await testService('mariadb');
const mongodb = await testService('mongodb');
const dtm = await testService('dtm');
const ownDtm = await testService('dtm-own');

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

dtm.describe('the DTM server of the tests', () => {
  it('is one for all who ask', async () => {
    const [one, other] = await Promise.all([dtm.database(), dtm.database('second')]);
    assert.equal(one, other);

    const answer = await fetch(`${one}/api/dtmsvr/newGid`);
    const { gid } = (await answer.json()) as { gid: string };
    assert.match(gid, /^[A-Za-z0-9]{20,24}$/);
  });
});

ownDtm.describe('a DTM server of a test', () => {
  it('says its version, and keeps its messages when it is killed and started again', async () => {
    const [server, other] = await Promise.all([startDtm(), startDtm({ env: { LOG_LEVEL: 'warn' } })]);
    assert.match(server.version, /^v1\.\d+\.\d+/);
    assert.notEqual(server.url, other.url);
    assert.ok(existsSync(join(server.directory, 'dtm.bolt')));

    const gid = randomUUID();
    const message = { gid, trans_type: 'msg', steps: [], payloads: [], query_prepared: 'http://127.0.0.1:9/' };
    const prepared = await fetch(`${server.url}/api/dtmsvr/prepare`, { method: 'POST', body: JSON.stringify(message) });
    assert.equal(prepared.status, 200);

    await server.kill();
    await assert.rejects(fetch(`${server.url}/api/dtmsvr/version`));
    await server.restart();
    const found = await fetch(`${server.url}/api/dtmsvr/query?gid=${gid}`);
    const { transaction } = (await found.json()) as { transaction: { status: string } };
    assert.equal(transaction.status, 'prepared');

    await server.kill();
    const heir = await startDtm({ directory: server.directory });
    const inherited = await fetch(`${heir.url}/api/dtmsvr/query?gid=${gid}`);
    assert.equal(((await inherited.json()) as { transaction: { gid: string } }).transaction.gid, gid);
  });
});
