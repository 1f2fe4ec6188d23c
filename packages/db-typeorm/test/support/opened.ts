import type { DataSource } from 'typeorm';
import { stopApps } from './apps.js';
import { openWire, type Wire } from './cut-commit.js';
import type { TestDatabase } from './databases.js';

const closing: (() => Promise<unknown>)[] = [];

/** Closes it after the test, the last one first. */
export function atEnd(close: () => Promise<unknown>): void {
  closing.push(close);
}

/** After each test: the apps, then all that they worked on. */
export async function closeAll(): Promise<void> {
  await stopApps();
  for (const close of closing.splice(0).reverse()) await close();
}

/** Connected until the end of the test. */
export async function opened(dataSource: Promise<DataSource> | DataSource): Promise<DataSource> {
  const open = await dataSource;
  if (!open.isInitialized) await open.initialize();
  atEnd(() => open.destroy());
  return open;
}

/** A new database. The application's connections go through the wire; the test looks on from beside it. */
export async function throughWire(
  database: TestDatabase,
  options: object = {},
): Promise<{ direct: DataSource; wire: Wire; dataSource: DataSource }> {
  const direct = await opened(database.open());
  const wire = await openWire((direct.options as { url: string }).url);
  atEnd(() => wire.close());
  return { direct, wire, dataSource: await opened(database.another(direct, { url: wire.url, ...options })) };
}
