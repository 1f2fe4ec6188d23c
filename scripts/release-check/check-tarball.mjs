import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './run.mjs';

const bin = (name) => join(import.meta.dirname, '../../node_modules/.bin', name);

/** Checks what the registry serves for a package: its contents, its manifest, its entries and types. */
export async function checkTarball(checks, { name, version }, registry, folder) {
  const tarball = join(folder, `${name.replace('@', '').replace('/', '-')}.tgz`);
  const fetched = await checks.run(name, 'published, with README, license and types', async () => {
    const { versions } = await (await fetch(registry.url + name.replace('/', '%2f'))).json();
    const manifest = versions[version];
    assert.ok(manifest, `${name}@${version} is not in the registry`);
    assert.equal(manifest.license, 'Apache-2.0');
    mkdirSync(folder, { recursive: true });
    writeFileSync(tarball, Buffer.from(await (await fetch(manifest.dist.tarball)).arrayBuffer()));

    const files = (await run(['tar', '-tzf', tarball], { cwd: folder })).trim().split('\n');
    for (const file of ['README.md', 'LICENSE', 'dist/index.js', 'dist/index.d.ts', 'src/index.ts'])
      assert.ok(files.includes(`package/${file}`), `${file} is missing`);
    assert.deepEqual(
      files.filter((file) => /\.test\.|\.tsbuildinfo|\.npmrc|node_modules/.test(file)),
      [],
      'files that are nobody’s',
    );
    await run(['tar', '-xzf', tarball, 'package/package.json'], { cwd: folder });
    const packed = readFileSync(join(folder, 'package/package.json'), 'utf8');
    assert.ok(!packed.includes('workspace:'), 'a dependency is still workspace:');
    for (const [sibling, range] of Object.entries(JSON.parse(packed).dependencies ?? {})) {
      if (sibling.startsWith('@stepping/')) assert.equal(range, `^${version}`, `versions move together: ${sibling}`);
    }
  });
  if (!fetched) return;
  await checks.run(name, 'publint', () => run([bin('publint'), 'run', '--strict', tarball], { cwd: folder }));
  await checks.run(name, 'attw', () => run([bin('attw'), '--profile', 'esm-only', tarball], { cwd: folder }));
}
