import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

const root = join(import.meta.dirname, '../../../..');

it('axios is loaded by the first request, not before, and its absence is reported with the line that installs it', async () => {
  const child = [`--import=${join(root, 'test/register.mjs')}`, join(import.meta.dirname, 'without-axios.ts')];
  const { stdout } = await promisify(execFile)(process.execPath, child);
  expect(JSON.parse(stdout)).toEqual({
    askedBefore: 0,
    asked: 1,
    code: 'DEPENDENCY_MISSING',
    message: 'An httpStep sends its requests through axios, which is not installed: npm install axios',
  });
});
