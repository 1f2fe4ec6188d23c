// `pnpm mutants [text]`: takes the rules out of a copy of the sources, one at a time, and fails if the test that is named for a rule does not notice.
// With a text: only the mutants whose rule, description or file contains it.
import { execFileSync, spawn } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { DTM_MUTANTS } from './mutants/dtm.mjs';
import { DTM_CLIENT_MUTANTS } from './mutants/dtm-client.mjs';
import { DTM_CRASH_POINT_MUTANTS } from './mutants/dtm-crash-points.mjs';
import { MUTANTS } from './mutants/list.mjs';
import { MONGODB_MUTANTS } from './mutants/mongodb.mjs';

const root = join(import.meta.dirname, '..');
const wanted = process.argv[2] ?? '';
const mutants = [...MUTANTS, ...MONGODB_MUTANTS, ...DTM_MUTANTS, ...DTM_CLIENT_MUTANTS, ...DTM_CRASH_POINT_MUTANTS].filter(
  ({ rule, what, file }) => `${rule} ${what} ${file}`.toLowerCase().includes(wanted.toLowerCase()),
);
/** A mutant may make its test hang. Unit: ms. */
const TIMEOUT_MS = 120_000;
/** All of their tests, without a mutant. Unit: ms. */
const UNCHANGED_TIMEOUT_MS = 600_000;
/** One per core of CI. */
const COPIES = 2;

const folder = mkdtempSync(join(tmpdir(), 'stepping-mutants-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

const copies = Array.from({ length: COPIES }, (_, i) => copyTree(join(folder, `copy-${i}`)));
const survivors = [];

const unchanged = await runTests(
  copies[0],
  [...new Set(mutants.map(({ test }) => test))],
  mutants.map(({ name }) => name),
  UNCHANGED_TIMEOUT_MS,
);
for (const { rule, test, name } of mutants) {
  const found = unchanged.filter((result) => result.name.includes(name));
  if (found.length === 0) survivors.push(`${rule}: ${test} has no test called '${name}'`);
  else if (found.some(({ status }) => status === 'failed')) survivors.push(`${rule}: '${name}' fails without a mutant, too`);
}
report(survivors);

const open = [...mutants];
await Promise.all(
  copies.map(async (copy) => {
    for (let mutant = open.shift(); mutant; mutant = open.shift()) await tryMutant(copy, mutant);
  }),
);
report(survivors);
console.log(`${mutants.length} mutants, each noticed by its test.`);

async function tryMutant(copy, { rule, what, file, search, replace, test, name }) {
  const path = join(copy, file);
  const source = readFileSync(path, 'utf8');
  if (source.split(search).length !== 2) {
    survivors.push(`${rule} (${what}): the patch no longer applies to ${file}. Bring scripts/mutants/list.mjs up to date`);
    return;
  }
  writeFileSync(
    path,
    source.replace(search, () => replace),
  );
  const startedAt = performance.now();
  try {
    const results = await runTests(copy, [test], [name]);
    const noticed = results.some((result) => result.name.includes(name) && result.status === 'failed');
    const took = `${((performance.now() - startedAt) / 1000).toFixed(1)} s`;
    console.log(`${noticed ? 'noticed ' : 'SURVIVED'} ${rule}: ${what} (${took})`);
    if (!noticed) survivors.push(`${rule} (${what}): '${name}' of ${test} stays green without the rule`);
  } finally {
    writeFileSync(path, source);
  }
}

/** The results of the tests whose names contain one of `names`. A file that does not even load has none. */
async function runTests(copy, files, names, timeoutMs = TIMEOUT_MS) {
  const output = join(copy, 'results.json');
  rmSync(output, { force: true });
  const pattern = names.map((name) => name.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('|');
  const jest = spawn(
    process.execPath,
    [
      '--experimental-vm-modules',
      '--disable-warning=ExperimentalWarning',
      join(copy, 'node_modules/jest/bin/jest.js'),
      `--config=${join(copy, 'jest.config.mjs')}`,
      '--json',
      `--outputFile=${output}`,
      '--forceExit',
      ...files,
      '--testNamePattern',
      pattern,
    ],
    { cwd: copy, stdio: 'ignore' },
  );
  const hangs = setTimeout(() => jest.kill('SIGKILL'), timeoutMs);
  await new Promise((resolve) => jest.on('exit', resolve));
  clearTimeout(hangs);
  // Whoever hangs has noticed.
  if (!existsSync(output)) return names.map((name) => ({ name, status: 'failed' }));
  const { testResults } = JSON.parse(readFileSync(output, 'utf8'));
  return testResults.flatMap(({ assertionResults }) => assertionResults.map(({ fullName, status }) => ({ name: fullName, status })));
}

/** What is committed or to be committed, with the installed packages linked. */
function copyTree(target) {
  const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { cwd: root, encoding: 'utf8' });
  const isSource = (file) => file !== '' && !file.split('/').includes('node_modules') && existsSync(join(root, file));
  for (const file of files.split('\n').filter(isSource)) {
    mkdirSync(dirname(join(target, file)), { recursive: true });
    copyFileSync(join(root, file), join(target, file));
  }
  const workspaces = ['packages', 'apps'].flatMap((group) => readdirSync(join(target, group)).map((name) => join(group, name)));
  for (const workspace of ['.', ...workspaces]) {
    const modules = join(root, workspace, 'node_modules');
    if (existsSync(modules)) symlinkSync(modules, join(target, workspace, 'node_modules'));
  }
  return target;
}

function report(failures) {
  if (failures.length === 0) return;
  for (const failure of failures) console.error(failure);
  process.exit(1);
}
