import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Measured } from './measured.js';

/** What the figures were measured on: the first line of the file of results. */
export interface Run {
  readonly at: string;
  readonly machine: string;
  /** Of Node and the libraries. */
  readonly versions: Readonly<Record<string, string>>;
  /** Version and durability of each database. */
  readonly databases: Readonly<Record<string, string>>;
  readonly repetitions: number;
  readonly quick: boolean;
}

export interface Results {
  readonly run: Run;
  readonly measured: readonly Measured[];
}

/** A file of results as they come in: a line of JSON each. */
export class ResultsFile {
  readonly #file: string;

  constructor(file: string, run: Run) {
    this.#file = file;
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, `${JSON.stringify(run)}\n`);
  }

  add(measured: Measured): void {
    appendFileSync(this.#file, `${JSON.stringify(measured)}\n`);
  }
}

export function readResults(file: string): Results {
  const [run, ...measured] = readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  return { run, measured };
}
