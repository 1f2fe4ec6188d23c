// The PostgreSQL that the tests use, in a process that ends it: `node postgres-server.js --directory DIR`. Ends with SIGTERM.
import { parseArgs } from 'node:util';

const { values: options } = parseArgs({ options: { directory: { type: 'string' } } });
if (options.directory === undefined) throw new Error('Give a directory for the data: --directory DIR');

interface Service {
  readonly hint: string;
  start(directory: string): Promise<{ createDatabase(name: string): Promise<string>; stop(): Promise<void> } | undefined>;
}
const services = new URL('../../../../test/services/postgres.mjs', import.meta.url).href;
const { postgres } = (await import(services)) as { postgres: Service };
const starting = postgres.start(options.directory);
// Heard from now on: it must not be left behind half started.
const stop = async () => (await starting)?.stop();
process.once('SIGTERM', () => void stop().finally(() => process.exit()));

const server = await starting;
if (server === undefined) throw new Error(`There is no PostgreSQL to start. ${postgres.hint}`);
try {
  console.log(`listening on ${await server.createDatabase('shop')}`);
} catch (error) {
  console.error(error);
  await stop();
  process.exit(1);
}
