// A server that the tests use, too, in a process that ends it: `node database-server.js --service postgres|mariadb|mongodb --directory DIR`. Ends with SIGTERM.
import { parseArgs } from 'node:util';

const { values: options } = parseArgs({ options: { service: { type: 'string' }, directory: { type: 'string' } } });
if (options.service === undefined || options.directory === undefined)
  throw new Error('Say which, and where: --service NAME --directory DIR');

interface Service {
  readonly hint: string;
  start(directory: string): Promise<{ createDatabase(name: string): Promise<string>; stop(): Promise<void> } | undefined>;
}
const file = options.service === 'mongodb' ? 'mongo' : options.service;
const module = new URL(`../../../../test/services/${file}.mjs`, import.meta.url).href;
const { [options.service]: service } = (await import(module)) as Record<string, Service>;
if (service === undefined) throw new Error(`There is no service ${options.service}.`);
const starting = service.start(options.directory);
// Heard from now on: it must not be left behind half started.
const stop = async () => (await starting)?.stop();
process.once('SIGTERM', () => void stop().finally(() => process.exit()));

const server = await starting;
if (server === undefined) throw new Error(`There is no ${options.service} to start. ${service.hint}`);
try {
  console.log(`listening on ${await server.createDatabase('shop')}`);
} catch (error) {
  console.error(error);
  await stop();
  process.exit(1);
}
