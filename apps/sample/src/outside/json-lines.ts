import { existsSync, readFileSync } from 'node:fs';

/** Reads a file of one JSON value a line; one that is not there is empty. */
export function readJsonLines<T>(file: string): T[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, 'utf8').split('\n');
  lines.pop(); // what a writer that was killed left half written, or nothing
  return lines.map((line) => JSON.parse(line) as T);
}
