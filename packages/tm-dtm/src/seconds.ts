import { SteppingError } from '@stepping/core';

/** DTM's times are whole numbers of seconds, and 0 stands for a default of its own. */
const MAX_SECONDS = 86_400 * 365;

/** @throws {@link SteppingError} `CONFIG_INVALID` */
export function wholeSeconds(option: string, ms: number): number {
  const seconds = Math.ceil(ms / 1_000);
  if (Number.isFinite(ms) && ms > 0 && seconds <= MAX_SECONDS) return seconds;
  throw new SteppingError(
    'CONFIG_INVALID',
    `dtm({ ${option}: ${ms} }): it is a number of milliseconds above 0, which DTM rounds up to whole seconds.`,
    { option, value: ms },
  );
}
