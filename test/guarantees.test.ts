import { strict as assert } from 'node:assert';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { it } from '@jest/globals';

const page = join(import.meta.dirname, '../docs/guarantees.md');
const text = readFileSync(page, 'utf8');
const files = new Map([...text.matchAll(/^\[([^\]]+)\]: (\S+)$/gm)].map(([, label, path]) => [label, join(dirname(page), path as string)]));

/** `[file] "name" · "name"`: a file and the tests that are cited from it. */
const cited = [...text.matchAll(/\[([^\]]+)\]((?: ·)? "[^"]+")+/g)].flatMap(([citation, label]) =>
  [...citation.matchAll(/ "([^"]+)"/g)].map(([, name]) => ({ label: label as string, name: name as string })),
);

it('the guarantees cite tests that are there', () => {
  assert.ok(cited.length > 50, `only ${cited.length} citations were found`);
  const missing = cited.filter(({ label, name }) => !nameIn(sourceOf(label), name));
  assert.deepEqual(missing, []);
});

it('the guarantees link to files that are there, and use each link', () => {
  const linked = [...text.matchAll(/\]\((\.\.\/[^)#]+)/g)].map(([, path]) => join(dirname(page), path as string));
  assert.deepEqual(
    [...files.values(), ...linked].filter((path) => !existsSync(path)),
    [],
  );
  const unused = [...files.keys()].filter((label) => !text.replace(`[${label}]: `, '').includes(`[${label}]`));
  assert.deepEqual(unused, []);
});

function sourceOf(label: string): string {
  const path = files.get(label);
  return path && existsSync(path) ? readFileSync(path, 'utf8') : '';
}

/** `…` stands for what varies in a name, a `%s` or a `${…}`. */
function nameIn(source: string, name: string): boolean {
  const parts = name.split('…').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`['"\`]${parts.join('(?:%[a-z#]|\\$\\{[^}]+\\})')}['"\`]`).test(source);
}
