import { execFile } from 'node:child_process';
import { cp, mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { root } from '../types/compile.js';

const packages = ['core', 'tm-local', 'tm-local-hosted-processor'];

/**
 * Makes `directory` a project in which these packages are installed as they are published: compiled from the sources as they are now, whatever `dist` holds.
 */
export async function installPackages(directory: string): Promise<void> {
  const modules = join(directory, 'node_modules');
  await mkdir(join(modules, '@stepping'), { recursive: true });
  await writeFile(join(directory, 'package.json'), '{ "type": "module" }');
  await symlink(join(root, 'node_modules/@types'), join(modules, '@types'));
  await build(join(directory, 'built'));
  for (const name of packages) {
    const source = join(root, 'packages', name);
    await mkdir(join(modules, '@stepping', name));
    await cp(join(source, 'package.json'), join(modules, '@stepping', name, 'package.json'));
    await cp(join(directory, 'built', name, 'src'), join(modules, '@stepping', name, 'dist'), { recursive: true });
    await linkDependencies(join(source, 'node_modules'), modules);
  }
}

async function build(outDir: string): Promise<void> {
  const sources = join(root, 'packages');
  const compilerOptions = {
    composite: false,
    rootDir: sources,
    outDir,
    tsBuildInfoFile: null,
    noEmitOnError: false,
    typeRoots: [join(root, 'node_modules/@types')],
    paths: { '@stepping/*': [join(sources, '*/src/index.ts')] },
  };
  const project = join(outDir, '../tsconfig.packages.json');
  const include = packages.map((name) => join(sources, name, 'src/**/*.ts'));
  const exclude = packages.flatMap((name) => [join(sources, name, 'src/**/*.test.ts'), join(sources, name, 'src/testing')]);
  await writeFile(project, JSON.stringify({ extends: join(root, 'tsconfig.base.json'), compilerOptions, include, exclude }));
  // Types are checked elsewhere.
  await promisify(execFile)(join(root, 'node_modules/.bin/tsc'), ['--project', project, '--noCheck'], { cwd: root });
}

async function linkDependencies(from: string, modules: string): Promise<void> {
  for (const name of await readdir(from)) {
    if (name.startsWith('.') || name === '@stepping') continue;
    await symlink(join(from, name), join(modules, name)).catch((error) => {
      if (error.code !== 'EEXIST') throw error; // another package has it, too
    });
  }
}
