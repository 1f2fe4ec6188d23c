import { expect, it } from '@jest/globals';
import { testService } from '@stepping/test-services';
import { DataSource } from 'typeorm';
import { int2Array, int4Array, int8Array, textArray } from '../src/postgres/binary-array.js';

const postgres = await testService('postgres');

postgres.describe('a binary array', () => {
  it('arrives at the server letter by letter and bit by bit', async () => {
    const dataSource = await new DataSource({ type: 'postgres', url: await postgres.database() }).initialize();
    const texts = ['', 'NULL', null, '{"a","b"}', 'ä 漢 🦉', '\\ \' " , { }', 'x'.repeat(70_000)];
    const bigs = [0, 1, -1, null, 2 ** 31, 2 ** 32, 2 ** 48 - 1, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER];
    const ints = [0, -1, 2 ** 31 - 1, -(2 ** 31)];
    const smalls = [0, -1, 32_767, -32_768];
    const [row] = await dataSource.query(
      'select to_json($1::text[]) as texts, to_json($2::bigint[]) as bigs, to_json($3::int[]) as ints, to_json($4::smallint[]) as smalls',
      [textArray(texts), int8Array(bigs), int4Array(ints), int2Array(smalls)],
    );
    expect(row).toEqual({ texts, bigs, ints, smalls });
    const [empty] = await dataSource.query('select cardinality($1::text[]) as texts, cardinality($2::bigint[]) as bigs', [
      textArray([]),
      int8Array([]),
    ]);
    expect(empty).toEqual({ texts: 0, bigs: 0 });
    await dataSource.destroy();
  });
});
