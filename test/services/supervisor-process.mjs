import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { request } from 'node:http';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { json } from 'node:stream/consumers';

/** Where the workers find the supervisor: inherited from the process that started the run. */
const ADDRESS = 'STEPPING_TEST_SERVICES';

/**
 * Starts the process that starts and ends the test services. It lives in a process group of its own, so that Ctrl-C does not reach it
 * first, and ends with its standard input: when this process dies, however it dies, the services go with it.
 */
export async function startSupervisor() {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'supervisor.mjs')], {
    detached: true,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  const lines = createInterface({ input: child.stdout });
  const first = await Promise.race([once(lines, 'line').then(([line]) => line), exited.then(() => undefined)]);
  if (first === undefined) throw new Error('The supervisor of the test services did not start.');
  process.env[ADDRESS] = first;
  child.unref();
  child.stdin.unref();
  child.stdout.unref();
  return {
    async stop() {
      child.ref();
      child.stdin.end();
      await exited;
    },
  };
}

/** Asks the supervisor; throws what it answers if that is an error. */
export async function callSupervisor(action, body) {
  const address = process.env[ADDRESS];
  if (address === undefined) throw new Error('The test services are not running: start the tests with `pnpm test`.');
  // Not `fetch`, which gives up after five minutes: a server that is built first may take longer.
  const call = request(`${address}/${action}`, { method: 'POST' }).end(JSON.stringify(body));
  const [response] = await once(call, 'response');
  const answer = await json(response);
  if (response.statusCode !== 200) throw new Error(answer.error);
  return answer;
}
