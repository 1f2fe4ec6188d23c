// `node --import <root>/test/register.mjs child.ts` runs TypeScript from the sources of the workspace, as Jest does: for tests that kill a child process.
import { existsSync, readFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { transformSync } from '@swc/core';
import { swcOptions } from './swc.mjs';

const root = join(import.meta.dirname, '..');

registerHooks({
  resolve(specifier, context, nextResolve) {
    const source = sourceOf(specifier, context.parentURL);
    return source === undefined
      ? nextResolve(specifier, context)
      : { url: pathToFileURL(source).href, format: 'module', shortCircuit: true };
  },
  load(url, context, nextLoad) {
    if (!url.startsWith('file:') || !url.endsWith('.ts') || url.includes('/node_modules/')) return nextLoad(url, context);
    const filename = fileURLToPath(url);
    const { code } = transformSync(readFileSync(filename, 'utf8'), { ...swcOptions, filename });
    return { format: 'module', source: code, shortCircuit: true };
  },
});

function sourceOf(specifier, parentURL) {
  if (specifier === '@stepping/test-services') return join(root, 'test/services/index.ts');
  const [, name, path] = /^@stepping\/([^/]+)(?:\/(.+))?$/.exec(specifier) ?? [];
  if (name !== undefined) {
    const src = join(root, 'packages', name, 'src');
    return [join(src, path ?? '', 'index.ts'), join(src, `${path}.ts`)].find(existsSync);
  }
  if (!/^\.{1,2}\/.*\.js$/.test(specifier) || !parentURL?.endsWith('.ts')) return undefined;
  const source = fileURLToPath(new URL(specifier.replace(/\.js$/, '.ts'), parentURL));
  return existsSync(source) ? source : undefined;
}
