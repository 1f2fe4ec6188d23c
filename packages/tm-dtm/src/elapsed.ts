/** Starts a watch. What it returns tells how long ago that was, by the larger of two clocks: one stands still while the machine sleeps, the other is set by people. Unit: ms. */
export function stopwatch(): () => number {
  const monotonic = performance.now();
  const wall = Date.now();
  return () => Math.max(performance.now() - monotonic, Date.now() - wall);
}
