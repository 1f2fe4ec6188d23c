import { expect, it } from '@jest/globals';
import { DataSource } from 'typeorm';
import { openStore } from './a-store.js';

it('refuses a database that it has no statements for, and names those that it has', () => {
  const dataSource = new DataSource({ type: 'mysql', host: '127.0.0.1', port: 1, database: 'none' });
  expect(() => openStore({ dataSource })).toThrow(
    expect.objectContaining({ code: 'STORE_REFUSED', message: expect.stringMatching(/'mysql'.*'postgres'.*'better-sqlite3'/) }),
  );
});
