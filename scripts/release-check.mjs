// `pnpm release:check`: everything that a release does, short of releasing, and then what a user does with it.
//
// On a copy of the working tree: versions, build, publish to a registry on loopback. Then, for each program in a README, in a bare folder outside the
// workspace: what its install line names and nothing else, and the program run from there in every way that the docs promise.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dtm } from '../test/services/dtm.mjs';
import { mongodb } from '../test/services/mongo.mjs';
import { checkTarball } from './release-check/check-tarball.mjs';
import { Checks } from './release-check/checks.mjs';
import { publishAll, publishedPackages, workingCopy } from './release-check/publish.mjs';
import { jestSettings, programsOf } from './release-check/readme.mjs';
import { startRegistry } from './release-check/registry.mjs';
import { checkPrograms } from './release-check/user-folder.mjs';

const root = join(import.meta.dirname, '..');
const work = mkdtempSync(join(tmpdir(), 'stepping-release-'));
const checks = new Checks();
const registry = await startRegistry(join(work, 'registry'));

try {
  const copy = join(work, 'workspace');
  await checks.run('workspace', 'version, build, publish', async () => {
    await workingCopy(root, copy);
    await publishAll(copy, registry);
  });
  if (checks.passed) {
    const packages = publishedPackages(copy);
    for (const published of packages) await checkTarball(checks, published, registry, join(work, 'tarballs'));

    let programs = [];
    let settings;
    await checks.run('docs', 'every package has a program in its README, and Jest its settings', () => {
      programs = programsOf(copy, packages);
      settings = jestSettings(join(copy, 'docs/testing.md'));
    });
    if (settings) {
      const names = (variable) => programs.some(({ source }) => source.includes(variable));
      const server = names('MONGODB_URL') ? await start(mongodb) : undefined;
      const dtmServer = names('DTM_URL') ? await start(dtm) : undefined;
      let runs = 0;
      // Each run begins with nothing, as a reader does: the programs use the same ids.
      const variables = async () => ({
        ...(server && { MONGODB_URL: await server.createDatabase(`readme${++runs}`) }),
        ...(dtmServer && { DTM_URL: await dtmServer.createDatabase() }),
      });
      await checkPrograms(checks, programs, { folder: join(work, 'users'), registry, settings, variables });
      await server?.stop();
      await dtmServer?.stop();
    }
  }
} finally {
  await registry.stop();
}

console.log(checks.summary());
if (checks.passed) rmSync(work, { recursive: true, force: true });
else console.log(`What was installed and run is kept in ${work}`);
process.exitCode = checks.passed ? 0 : 1;

/** A server of the tests: programs in READMEs find it by a variable. */
async function start(service) {
  const url = process.env[service.url];
  const server = url ? await service.connect(url) : await service.start(join(work, service.name));
  if (server === undefined) throw new Error(`There is no ${service.name} for the programs of the READMEs. ${service.hint}`);
  return server;
}
