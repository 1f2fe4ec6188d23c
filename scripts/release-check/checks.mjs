/** The checks of a run and how they ended. A failed one does not end the run: the summary has them all. */
export class Checks {
  #results = [];

  get passed() {
    return this.#results.every(({ error }) => error === undefined);
  }

  /** Runs one check. True if it passed. */
  async run(subject, check, work) {
    const startedAt = performance.now();
    const error = await Promise.resolve()
      .then(work)
      .then(
        () => undefined,
        (reason) => reason,
      );
    const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1);
    this.#results.push({ subject, check, error });
    console.log(`${error ? 'FAILED' : 'ok    '}  ${subject}: ${check} (${seconds} s)`);
    if (error) console.log(indented(error instanceof Error ? (error.output ?? error.stack ?? error.message) : String(error)));
    return error === undefined;
  }

  summary() {
    const failed = this.#results.filter(({ error }) => error !== undefined);
    const lines = failed.map(({ subject, check }) => `  ${subject}: ${check}`);
    if (failed.length > 0) lines.unshift('', 'Failed:');
    return [...lines, '', `Release checks: ${this.#results.length - failed.length} passed, ${failed.length} failed`].join('\n');
  }
}

function indented(text) {
  return text.trimEnd().replaceAll(/^/gm, '        ');
}
