import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { asCommonJs, asTest, asTypedCommonJs } from './program.mjs';
import { run } from './run.mjs';

const root = join(import.meta.dirname, '../..');

/** All that comes with core: a step's home has no database driver, no HTTP client and no server in it. */
const WITH_CORE = ['@standard-schema/spec', '@stepping/core', 'reflect-metadata', 'tslib', 'tsyringe'];

/** What a script of the workspace finds in its environment, `NODE_PATH` above all; the npm configuration of the machine stays. */
const OF_THE_WORKSPACE =
  /^(npm_(package|lifecycle)_|npm_(execpath|node_execpath|command|config_user_agent)$|pnpm_|node_(path|options)$|init_cwd$)/i;

const env = userEnvironment();

const TSCONFIG = {
  compilerOptions: { target: 'es2023', module: 'nodenext', strict: true, skipLibCheck: false, types: ['node'], noEmit: true },
  include: ['program.ts', 'program.cts'],
};

/**
 * Does with the programs of the READMEs what their readers do: installs what the line names into a bare folder, and runs the program from there in every way that the docs
 * promise, each time with what `variables()` gives in its environment. Tools come last, into the folder above: until then a program finds nothing but what its line names.
 */
export async function checkPrograms(checks, programs, { folder, registry, settings, variables = async () => ({}) }) {
  const users = programs.map((program, index) => new User(program, join(folder, String(index)), checks, variables));
  const ready = [];
  for (const user of users) {
    if (!(await user.install(registry))) continue;
    await user.runProgram();
    ready.push(user);
  }
  const tools = ['npm install typescript@7 @types/node@22', settings.install.trim()];
  const haveTools = await checks.run('docs', tools.at(-1), async () => {
    writeFileSync(join(folder, 'package.json'), '{ "private": true }');
    for (const line of tools) await run(line, { cwd: folder, env });
  });
  if (haveTools) for (const user of ready) await user.runTools(settings, folder);
}

class User {
  #program;
  #folder;
  #checks;
  #variables;

  constructor(program, folder, checks, variables) {
    this.#program = program;
    this.#folder = folder;
    this.#checks = checks;
    this.#variables = variables;
  }

  install(registry) {
    const { install } = this.#program;
    this.#put('package.json', JSON.stringify({ name: 'shop', version: '1.0.0', private: true, type: 'module' }, null, 2));
    this.#put('.npmrc', registry.npmrc);
    return this.#check(install.at(-1), async () => {
      for (const line of install) await run(line, { cwd: this.#folder, env });
      const installed = packagesIn(join(this.#folder, 'node_modules'));
      if (install.at(-1).endsWith(' @stepping/core')) assert.deepEqual(installed, WITH_CORE);
    });
  }

  async runProgram() {
    const { source } = this.#program;
    await this.#check('runs as an ES module', () => this.#printsAsSaid('program.ts', this.#put('esm/program.ts', source)));
    await this.#check('runs as CommonJS through require(esm)', () =>
      this.#printsAsSaid('program.cjs', this.#put('commonjs/program.cjs', asCommonJs(source))),
    );
  }

  async runTools(settings, toolsFolder) {
    const { source, prints } = this.#program;
    await this.#check('TypeScript 7, strict, every declaration checked', async () => {
      this.#put('types/program.ts', source);
      this.#put('types/program.cts', asTypedCommonJs(source));
      const cwd = this.#put('types/tsconfig.json', JSON.stringify(TSCONFIG, null, 2));
      await run(['node', join(toolsFolder, 'node_modules/typescript/bin/tsc'), '--project', '.'], { cwd, env });
    });
    await this.#check('a Jest test, packages transformed', async () => {
      this.#put('jest-transformed/package.json', '{}');
      this.#put('jest-transformed/program.test.ts', asTest(source, prints));
      const cwd = this.#put('jest-transformed/jest.config.mjs', settings.transformed);
      await this.#run('npx jest', cwd);
    });
    await this.#check('a Jest test, ES modules', async () => {
      this.#put('jest-native/package.json', '{ "type": "module" }');
      this.#put('jest-native/program.test.ts', asTest(source, prints));
      const cwd = this.#put('jest-native/jest.config.mjs', settings.native);
      await this.#run(settings.nativeCommand.trim(), cwd);
    });
  }

  #check(title, work) {
    return this.#checks.run(this.#program.name, title, work);
  }

  async #printsAsSaid(file, cwd) {
    assert.equal((await this.#run(['node', file], cwd)).trim(), this.#program.prints);
  }

  /** Runs the program in some way. */
  async #run(command, cwd) {
    return run(command, { cwd, env: { ...env, ...(await this.#variables()) } });
  }

  /** Writes a file and answers with its folder. */
  #put(path, text) {
    const file = join(this.#folder, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
    return dirname(file);
  }
}

/** The Node version of the workspace, and none of its tools: what a program finds, it was told to install. */
function userEnvironment() {
  const kept = Object.fromEntries(Object.entries(process.env).filter(([key]) => !OF_THE_WORKSPACE.test(key)));
  const others = (process.env.PATH ?? '').split(delimiter).filter((folder) => !folder.includes('node_modules'));
  const ownNode = join(root, 'node_modules/node/bin');
  return { ...kept, PATH: [existsSync(ownNode) ? ownNode : dirname(process.execPath), ...others].join(delimiter), NO_COLOR: '1' };
}

function packagesIn(nodeModules) {
  return readdirSync(nodeModules)
    .filter((entry) => !entry.startsWith('.'))
    .flatMap((entry) => (entry.startsWith('@') ? readdirSync(join(nodeModules, entry)).map((name) => `${entry}/${name}`) : [entry]))
    .sort();
}
