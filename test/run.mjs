// `pnpm test [jest arguments]`: the whole suite, or what the arguments select, under the Node version of the workspace.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { constants } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { resultsFile } from './results.mjs';

const root = join(import.meta.dirname, '..');
const ownNode = join(root, 'node_modules/node/bin/node');
const node = existsSync(ownNode) ? ownNode : process.execPath;

mkdirSync(dirname(resultsFile), { recursive: true });
rmSync(resultsFile, { force: true }); // a crash of the runner must not leave the numbers of an earlier run

const jest = spawn(
  node,
  [
    '--experimental-vm-modules',
    '--disable-warning=ExperimentalWarning',
    join(root, 'node_modules/jest/bin/jest.js'),
    `--config=${join(root, 'jest.config.mjs')}`,
    '--json',
    `--outputFile=${resultsFile}`,
    ...process.argv.slice(2),
  ],
  { stdio: 'inherit', env: { ...process.env, PATH: [join(root, 'node_modules/.bin'), process.env.PATH].join(delimiter) } },
);
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => jest.kill(signal));
jest.on('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
