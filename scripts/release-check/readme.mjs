import { readFileSync } from 'node:fs';
import { join, relative } from 'node:path';

/**
 * The programs in the READMEs, so that what is written there is what runs. A program is three fenced blocks: ```` ```sh install ````,
 * ```` ```ts program ```` and ```` ```text prints ````. A README without one is an error, unless it says that nobody installs the package by itself.
 */
export function programsOf(copy, packages) {
  const readmes = [{ name: 'README', folder: copy }, ...packages];
  return readmes.flatMap(({ name, folder }) => {
    const path = join(folder, 'README.md');
    const text = readFileSync(path, 'utf8');
    const programs = programsIn(text, relative(copy, path));
    if (programs.length === 0 && !text.includes('not meant to be installed by itself'))
      throw new Error(`${relative(copy, path)} has no program`);
    return programs.map((program, index) => ({ name: programs.length === 1 ? name : `${name} ${index + 1}`, ...program }));
  });
}

/** The two ways in which the docs tell users to set up Jest: what they install, and the config file of each. */
export function jestSettings(path) {
  const blocks = fences(readFileSync(path, 'utf8'));
  const named = (role) => {
    const block = blocks.find((candidate) => candidate.role === role);
    if (!block) throw new Error(`${path} has no block "${role}"`);
    return block.text;
  };
  return {
    install: named('install'),
    transformed: named('jest-transformed'),
    native: named('jest-native'),
    nativeCommand: named('jest-native-command'),
  };
}

/** A program needs what the install lines before it name; where there are none, the first ones after it. */
function programsIn(markdown, path) {
  const blocks = fences(markdown);
  const installs = blocks.filter(({ role }) => role === 'install');
  return blocks.flatMap((block, index) => {
    if (block.role !== 'program') return [];
    const install = installs.findLast((candidate) => blocks.indexOf(candidate) < index) ?? installs[0];
    const prints = blocks[index + 1]?.role === 'prints' ? blocks[index + 1] : undefined;
    if (!install || !prints) throw new Error(`${path}: a program needs an install line, and what it prints right after it`);
    return [{ install: install.text.trim().split('\n'), source: block.text, prints: prints.text.trim() }];
  });
}

function fences(markdown) {
  return [...markdown.matchAll(/^```(\w+)(?: (\S+))?\n([\s\S]*?)^```$/gm)].map(([, language, role, text]) => ({ language, role, text }));
}
