// `node test/results.mjs` names what failed, then prints one plain line from the runner's own result, and fails where that result does.
import { readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { stripVTControlCharacters } from 'node:util';

const root = join(import.meta.dirname, '..');

export const resultsFile = join(root, 'node_modules/.cache/stepping/test-results.json');

if (process.argv[1] === import.meta.filename) {
  const results = JSON.parse(readFileSync(resultsFile, 'utf8'));
  // A file that could not be loaded has no tests to count; it counts as one that failed.
  const failed = results.numFailedTests + results.numRuntimeErrorTestSuites;
  const skipped = results.numPendingTests + results.numTodoTests;
  for (const file of results.testResults) {
    for (const { fullName, failureMessages } of file.assertionResults.filter(({ status }) => status === 'failed')) {
      console.log(`\nFailed: ${fullName}\n  in ${relative(root, file.name)}\n${shortened(failureMessages.join('\n'))}`);
    }
    if (file.assertionResults.length === 0 && file.message)
      console.log(`\nFailed to load: ${relative(root, file.name)}\n${shortened(file.message)}`);
  }
  console.log(`Tests: ${results.numPassedTests} passed, ${failed} failed, ${skipped} skipped`);
  process.exitCode = results.success && failed === 0 && results.numPassedTests > 0 ? 0 : 1;
}

/** The last lines of a long log are what one sees first: enough of each failure to know it by. */
function shortened(message) {
  const lines = stripVTControlCharacters(message)
    .split('\n')
    .filter((line) => line.trim() !== '' && !/^\s+at /.test(line));
  const most = 30;
  const shown = lines.length <= most ? lines : [...lines.slice(0, most / 2), '  […]', ...lines.slice(-most / 2)];
  return shown.map((line) => `  ${line.slice(0, 400)}`).join('\n');
}
