// `node test/results.mjs` prints one plain line from the runner's own result, and fails where that result does.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export const resultsFile = join(import.meta.dirname, '../node_modules/.cache/stepping/test-results.json');

if (process.argv[1] === import.meta.filename) {
  const results = JSON.parse(readFileSync(resultsFile, 'utf8'));
  // A file that could not be loaded has no tests to count; it counts as one that failed.
  const failed = results.numFailedTests + results.numRuntimeErrorTestSuites;
  const skipped = results.numPendingTests + results.numTodoTests;
  console.log(`Tests: ${results.numPassedTests} passed, ${failed} failed, ${skipped} skipped`);
  process.exitCode = results.success && failed === 0 && results.numPassedTests > 0 ? 0 : 1;
}
