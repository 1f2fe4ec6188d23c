// biome-ignore lint/suspicious/noUndeclaredEnvVars: tests are not run by turbo
const GIVEN = Number(process.env.STEPPING_TEST_SEED);

/** Numbers in [0, 1) that `STEPPING_TEST_SEED` repeats. */
export function seeded(): { readonly seed: number; random(): number } {
  const seed = GIVEN || Math.floor(Math.random() * 2 ** 31);
  let state = seed;
  return {
    seed,
    random() {
      state = (state + 0x6d2b79f5) | 0;
      let mixed = Math.imul(state ^ (state >>> 15), state | 1);
      mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
    },
  };
}
