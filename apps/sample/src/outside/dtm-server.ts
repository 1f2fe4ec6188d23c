// A DTM server in a process that ends it: `node dtm-server.js --directory DIR`. Says where it can be controlled; ends with SIGTERM.
// GET / says where DTM is; POST /control/kill kills it as `kill -9` does, and starts it again on the same data some time later.
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';

/** Long enough that orders are placed meanwhile. Unit: ms. */
const DOWN_MS = 1_500;

const { values: options } = parseArgs({ options: { directory: { type: 'string' } } });
if (options.directory === undefined) throw new Error('Say where: --directory DIR');

interface Started {
  readonly number: number;
  readonly url: string;
}
interface Service {
  readonly hint: string;
  start(directory: string): Promise<
    | {
        startServer(options: object): Promise<Started>;
        killServer(server: { number: number }): Promise<void>;
        restartServer(server: { number: number }): Promise<void>;
        stop(): Promise<void>;
      }
    | undefined
  >;
}
const module = new URL('../../../../test/services/dtm.mjs', import.meta.url).href;
const { ownDtm } = (await import(module)) as { ownDtm: Service };
const starting = ownDtm.start(options.directory);
// Heard from now on: it must not be left behind half started.
process.once('SIGTERM', async () => {
  await (await starting)?.stop();
  process.exit();
});

const servers = await starting;
if (servers === undefined) throw new Error(`There is no DTM server to start. ${ownDtm.hint}`);
const dtm = await servers.startServer({});

const control = createServer(async (request, response) => {
  if (request.method === 'POST' && request.url === '/control/kill') {
    await servers.killServer(dtm);
    await sleep(DOWN_MS);
    await servers.restartServer(dtm);
  }
  response.end(JSON.stringify({ url: dtm.url }));
});
control.listen(0, '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${(control.address() as { port: number }).port}`);
});
