const { STEPPING_TEST_SEED, STEPPING_TEST_RUNS } = process.env;

/**
 * How property tests run here: small by default, with `STEPPING_TEST_RUNS=20` twenty times as much. A failure prints its seed and its shrunk history;
 * `STEPPING_TEST_SEED` repeats it.
 */
export function property(runs: number): { numRuns: number; seed?: number } {
  const seed = Number(STEPPING_TEST_SEED);
  return { numRuns: runs * (Number(STEPPING_TEST_RUNS) || 1), ...(seed ? { seed } : {}) };
}
