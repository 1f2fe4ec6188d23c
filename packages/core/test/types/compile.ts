import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { promisify } from 'node:util';

export const root = join(import.meta.dirname, '../../../..');
const tsc = join(root, 'node_modules/.bin/tsc');

/** What the compiler says of one place, its explanations included. */
export interface Diagnostic {
  file: string;
  line: number;
  code: string;
  text: string;
}

/** Compiles files as a user's project would, against the sources of the workspace, and gives back everything that the compiler prints. */
export async function compile(
  files: readonly string[],
  flags: readonly string[] = [],
): Promise<{ diagnostics: Diagnostic[]; output: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'stepping-types-'));
  try {
    const project = join(directory, 'tsconfig.json');
    const compilerOptions = {
      noEmit: true,
      composite: false,
      declarationMap: false,
      declaration: false,
      tsBuildInfoFile: null,
      rootDir: '/',
      typeRoots: [join(root, 'node_modules/@types')],
      paths: await sourcesOfPackages(),
    };
    await writeFile(
      project,
      JSON.stringify({ extends: join(root, 'tsconfig.base.json'), compilerOptions, files, include: [], exclude: [] }),
    );
    const output = await run(['--project', project, '--pretty', 'false', ...flags]);
    return { diagnostics: parse(output), output };
  } finally {
    await rm(directory, { recursive: true });
  }
}

async function sourcesOfPackages(): Promise<Record<string, string[]>> {
  const packages = join(root, 'packages');
  const paths = (await readdir(packages)).flatMap((name) => [
    [`@stepping/${name}`, [join(packages, name, 'src/index.ts')]],
    [`@stepping/${name}/*`, [join(packages, name, 'src/*/index.ts')]],
  ]);
  return Object.fromEntries(paths);
}

async function run(args: readonly string[]): Promise<string> {
  // Errors in the files end the compiler with a code: that is an answer.
  const { stdout, stderr } = await promisify(execFile)(tsc, args, { cwd: root, maxBuffer: 1e8 }).catch((error) => error);
  if (typeof stdout !== 'string') throw new Error(`tsc could not be run: ${stdout}`);
  return `${stdout}${stderr}`;
}

function parse(output: string): Diagnostic[] {
  const diagnostics: Diagnostic[] = [];
  for (const line of output.split('\n')) {
    const [, file, number, code, text] = /^(.+)\((\d+),\d+\): error (TS\d+): (.*)$/.exec(line) ?? [];
    if (file !== undefined && number !== undefined && code !== undefined) {
      diagnostics.push({ file: relative(root, join(root, file)), line: Number(number), code, text: text ?? '' });
      continue;
    }
    const last = diagnostics.at(-1);
    if (last && line.startsWith(' ')) last.text += `\n${line}`;
    else if (/^error TS/.test(line)) diagnostics.push({ file: '', line: 0, code: line.slice(6, 12), text: line });
  }
  return diagnostics;
}
