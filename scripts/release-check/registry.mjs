import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Unit: ms. */
const START_TIMEOUT_MS = 60_000;

/**
 * A registry on loopback for `@stepping` alone. Everything else comes from the registry that npm is configured for, so a package of ours that
 * was not published now cannot be found anywhere.
 */
export async function startRegistry(folder) {
  mkdirSync(folder, { recursive: true });
  const config = join(folder, 'config.yaml');
  writeFileSync(
    config,
    `storage: ${join(folder, 'storage')}
auth: { htpasswd: { file: ${join(folder, 'htpasswd')}, max_users: -1 } }
packages: { '@stepping/*': { access: $all, publish: $all } }
web: { enable: false }
log: { type: stdout, format: pretty, level: warn }
`,
  );
  const port = await freePort();
  const verdaccio = spawn(
    process.execPath,
    [
      fileURLToPath(new URL('../../node_modules/verdaccio/bin/verdaccio', import.meta.url)),
      '--config',
      config,
      '--listen',
      `127.0.0.1:${port}`,
    ],
    { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const ended = new Promise((resolve) => verdaccio.on('close', resolve));
  let said = '';
  for (const stream of [verdaccio.stdout, verdaccio.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      said += text;
    });
  }
  process.on('exit', () => verdaccio.kill('SIGKILL'));

  const url = `http://127.0.0.1:${port}/`;
  await untilItAnswers(url, verdaccio, () => said);
  return {
    url,
    /** For an `.npmrc`. Publishing wants a token; this registry takes any. */
    npmrc: `@stepping:registry=${url}\n//127.0.0.1:${port}/:_authToken=anybody\n`,
    async stop() {
      verdaccio.kill();
      await ended;
    },
  };
}

async function untilItAnswers(url, child, said) {
  const deadline = performance.now() + START_TIMEOUT_MS;
  while (true) {
    const answer = await fetch(`${url}-/ping`).catch(() => undefined);
    if (answer?.ok) return;
    if (child.exitCode !== null || performance.now() > deadline) throw new Error(`The registry did not start.\n${said()}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer()
      .on('error', reject)
      .listen(0, '127.0.0.1', () => {
        const { port } = server.address();
        server.close(() => resolve(port));
      });
  });
}
