import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Options, transform } from '@swc/core';
import { root } from '../types/compile.js';

const exec = promisify(execFile);

/** What happened to a program: what it printed, or why there was nothing to print. */
export type Outcome = { printed: string } | { refused: string };

/** Compiles `<directory>/<name>.ts` and runs it with Node. */
export type Compiler = (directory: string, name: string) => Promise<Outcome>;

export const compilers: Record<string, Compiler> = {
  'tsc, legacy decorators': tsc({ experimentalDecorators: true, emitDecoratorMetadata: true }),
  'tsc, TC39 decorators': tsc({}),
  'swc, legacy decorators': swc({ legacyDecorator: true, decoratorMetadata: true }),
  'swc, TC39 decorators': swc({ decoratorVersion: '2022-03' }),
  esbuild: esbuild({}),
  'esbuild, legacy decorators': esbuild({ experimentalDecorators: true, emitDecoratorMetadata: true }),
  tsx: (directory, name) => node([join(root, 'node_modules/tsx/dist/cli.mjs'), join(directory, `${name}.ts`)]),
  'Node type stripping': (directory, name) => node([join(directory, `${name}.ts`)]),
};

function tsc(decorators: object): Compiler {
  return async (directory, name) => {
    const project = join(directory, `${name}.tsconfig.json`);
    const compilerOptions = {
      target: 'es2023',
      module: 'nodenext',
      strict: true,
      skipLibCheck: true,
      types: ['node'],
      outDir: `out-${name}`,
      ...decorators,
    };
    await writeFile(project, JSON.stringify({ compilerOptions, files: [`${name}.ts`] }));
    await exec(join(root, 'node_modules/.bin/tsc'), ['--project', project, '--pretty', 'false'], { cwd: directory }).catch(rethrowOutput);
    return node([join(directory, `out-${name}`, `${name}.js`)]);
  };
}

function swc(decorators: NonNullable<NonNullable<Options['jsc']>['transform']>): Compiler {
  return async (directory, name) => {
    const source = await readFile(join(directory, `${name}.ts`), 'utf8');
    const { code } = await transform(source, {
      swcrc: false,
      configFile: false,
      jsc: { target: 'es2023', parser: { syntax: 'typescript', decorators: true }, transform: decorators },
      module: { type: 'es6' },
    });
    await writeFile(join(directory, `${name}.mjs`), code);
    return node([join(directory, `${name}.mjs`)]);
  };
}

function esbuild(decorators: object): Compiler {
  return async (directory, name) => {
    const output = join(directory, `${name}.mjs`);
    const tsconfig = `--tsconfig-raw=${JSON.stringify({ compilerOptions: decorators })}`;
    await exec(join(root, 'node_modules/.bin/esbuild'), [
      join(directory, `${name}.ts`),
      `--outfile=${output}`,
      '--format=esm',
      '--target=node22',
      tsconfig,
    ]);
    return node([output]);
  };
}

async function node(args: readonly string[]): Promise<Outcome> {
  try {
    const { stdout } = await exec(process.execPath, ['--disable-warning=ExperimentalWarning', ...args], {
      env: { ...process.env, NODE_OPTIONS: '' },
    });
    return { printed: stdout.trim() };
  } catch (error) {
    return { refused: String((error as { stderr?: unknown }).stderr) };
  }
}

function rethrowOutput(error: { stdout?: unknown }): never {
  throw new Error(`tsc refused the program:\n${error.stdout}`, { cause: error });
}
