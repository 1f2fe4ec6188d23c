import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { asCommonJs, asTest, asTypedCommonJs } from './program.mjs';
import { run } from './run.mjs';

const root = join(import.meta.dirname, '../..');

/** All that comes with core: a step's home has no database driver, no HTTP client and no server in it. */
const WITH_CORE = ['@standard-schema/spec', '@stepping/core', 'reflect-metadata', 'tslib', 'tsyringe'];

const TSCONFIG = {
  compilerOptions: { target: 'es2023', module: 'nodenext', strict: true, skipLibCheck: false, types: ['node'], noEmit: true },
  include: ['program.ts', 'program.cts'],
};

/** Does with a program of a README what its reader does: installs what the line names, and runs it in every way that the docs promise. */
export async function checkProgram(checks, program, { folder, registry, settings, names }) {
  const { name, install, source, prints } = program;
  const env = userEnvironment();
  const put = (path, text) => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
    return dirname(join(folder, path));
  };
  const printsAsSaid = async (command, cwd) => assert.equal((await run(command, { cwd, env })).trim(), prints);

  put('package.json', JSON.stringify({ name: 'shop', version: '1.0.0', private: true, type: 'module' }, null, 2));
  put('.npmrc', registry.npmrc);
  const installed = await checks.run(name, install.at(-1), async () => {
    for (const line of install) await run(line, { cwd: folder, env });
    if (install.at(-1).endsWith(' @stepping/core')) assert.deepEqual(packagesIn(join(folder, 'node_modules')), WITH_CORE);
  });
  if (!installed) return;

  await checks.run(name, 'runs as an ES module', () => printsAsSaid(['node', 'program.ts'], put('esm/program.ts', source)));
  await checks.run(name, 'runs as CommonJS through require(esm)', () =>
    printsAsSaid(['node', 'program.cjs'], put('commonjs/program.cjs', asCommonJs(source))),
  );

  if (!(await checks.run(name, 'the tools of a user', () => installTools(settings.install, { folder, env })))) return;
  await checks.run(name, 'TypeScript 7, strict, every declaration checked', async () => {
    put('types/program.ts', source);
    put('types/program.cts', asTypedCommonJs(source));
    const cwd = put('types/tsconfig.json', JSON.stringify(TSCONFIG, null, 2));
    await run(['node', join(folder, 'node_modules/typescript/bin/tsc'), '--project', '.'], { cwd, env });
  });
  await checks.run(name, 'a Jest test, packages transformed', async () => {
    put('jest-transformed/package.json', '{}');
    put('jest-transformed/program.test.ts', asTest(source, prints));
    const cwd = put('jest-transformed/jest.config.mjs', settings.transformed);
    await run('npx jest --no-cache', { cwd, env });
  });
  await checks.run(name, 'a Jest test, ES modules', async () => {
    put('jest-native/package.json', '{ "type": "module" }');
    put('jest-native/program.test.ts', asTest(source, prints));
    const cwd = put('jest-native/jest.config.mjs', settings.native);
    await run(`${settings.nativeCommand.trim()} --no-cache`, { cwd, env });
  });
  await checks.run(name, 'every package of ours is the one just built', () => {
    const lock = JSON.parse(readFileSync(join(folder, 'package-lock.json'), 'utf8'));
    const ours = Object.keys(lock.packages).filter((path) => /(^|\/)@stepping\/[^/]+$/.test(path));
    assert.deepEqual(
      ours.filter((path) => !names.some((known) => path === `node_modules/${known}`)),
      [],
    );
  });
}

async function installTools(line, { folder, env }) {
  await run(`npm install --save-dev typescript@7 @types/node@22`, { cwd: folder, env });
  await run(line.trim(), { cwd: folder, env });
}

/** What a script of the workspace finds in its environment, `NODE_PATH` above all; the npm configuration of the machine stays. */
const OF_THE_WORKSPACE =
  /^(npm_(package|lifecycle)_|npm_(execpath|node_execpath|command|config_user_agent)$|pnpm_|node_(path|options)$|init_cwd$)/i;

/** The Node version of the workspace, and none of its tools: what a program finds, it was told to install. */
function userEnvironment() {
  const env = Object.fromEntries(Object.entries(process.env).filter(([key]) => !OF_THE_WORKSPACE.test(key)));
  const others = (process.env.PATH ?? '').split(delimiter).filter((folder) => !folder.includes('node_modules'));
  const ownNode = join(root, 'node_modules/node/bin');
  return { ...env, PATH: [existsSync(ownNode) ? ownNode : dirname(process.execPath), ...others].join(delimiter), NO_COLOR: '1' };
}

function packagesIn(nodeModules) {
  return readdirSync(nodeModules)
    .filter((entry) => !entry.startsWith('.'))
    .flatMap((entry) => (entry.startsWith('@') ? readdirSync(join(nodeModules, entry)).map((name) => `${entry}/${name}`) : [entry]))
    .sort();
}
