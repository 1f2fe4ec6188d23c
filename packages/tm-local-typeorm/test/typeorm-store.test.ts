import { expect, it } from '@jest/globals';
import type { DataSource } from 'typeorm';
import { openStore } from './a-store.js';

it('refuses a database that it has no statements for, and names those that it has', () => {
  const dataSource = { options: { type: 'mssql' } } as DataSource;
  expect(() => openStore({ dataSource })).toThrow(
    expect.objectContaining({ code: 'STORE_REFUSED', message: expect.stringMatching(/'mssql'.*'postgres'.*'mariadb'.*'better-sqlite3'/) }),
  );
});
