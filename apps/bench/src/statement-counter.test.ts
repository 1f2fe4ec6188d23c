import { expect, it } from '@jest/globals';
import { testService } from '@stepping/test-services';
import pg from 'pg';
import { countStatements } from './statement-counter.js';

const postgres = await testService('postgres');

postgres.describe('Statements to PostgreSQL are counted on their way', () => {
  it('whether simple, with values or prepared, and however they are cut into packets', async () => {
    const counter = await countStatements(await postgres.database());
    const client = new pg.Client({ connectionString: counter?.database });
    await client.connect();
    await client.query('select 1');
    await client.query('select $1::text', ['x'.repeat(1_000_000)]);
    for (let i = 0; i < 3; i++) await client.query({ name: 'two', text: 'select $1::int', values: [2] });
    expect(counter?.statements()).toBe(5);
    await client.end();
    await counter?.stop();
  });
});

it('Statements to a file are not counted', async () => {
  expect(await countStatements('/tmp/bench.sqlite')).toBeUndefined();
});
