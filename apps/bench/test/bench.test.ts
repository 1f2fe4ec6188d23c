import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, expect, it, jest } from '@jest/globals';
import { nodeArgsFor } from '@stepping/test-services';

// Ten processes one after another, on a busy machine.
jest.setTimeout(120_000);

const directory = mkdtempSync(join(tmpdir(), 'stepping-bench-test-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** Without peers and servers: those are measured by whoever runs the bench. */
it('measures a part of itself quickly, prints its tables and draws them', async () => {
  const out = join(directory, 'part.jsonl');
  const bench = nodeArgsFor(join(import.meta.dirname, '../src/bench.ts'));
  const options = ['--quick', '--databases', 'SQLite', '--workloads', 'W1,W5', '--only', 'stepping,plain', '--out', out];
  const { stdout } = await promisify(execFile)(process.execPath, [...bench, ...options]);

  const [run, ...measured] = linesOf(out);
  expect(run).toMatchObject({ quick: true, databases: { SQLite: expect.stringContaining('synchronous FULL') } });
  expect(measured.map(({ workload, name, error }) => [workload, name, error])).toEqual([
    ['W1', 'plain:kept', undefined],
    ['W1', 'stepping', undefined],
    ['W5', 'plain:kept', undefined],
    ['W5', 'stepping', undefined],
  ]);
  for (const { values } of measured) expect(values.rate).toBeGreaterThan(0);
  for (const { values } of measured.slice(2)) expect(values.extraSteps).toBe(0);

  expect(stdout).toContain('## W5 on SQLite');
  expect(stdout).toMatch(/^\| stepping \| [\d .]+ \|/m);
  expect(readFileSync(join(directory, 'part-page/sqlite-w5.svg'), 'utf8')).toContain('stepping');
  expect(readFileSync(join(directory, 'part-page/README.md'), 'utf8')).toContain('![W1 on SQLite](sqlite-w1.svg)');
});

function linesOf(file: string): any[] {
  return readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}
