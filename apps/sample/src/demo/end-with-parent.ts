// Preloaded into every process that the demo starts: none outlives it, however it ends.

/** For a process that does not end by itself when asked to. Unit: ms. */
const PATIENCE_MS = 15_000;

process.once('disconnect', () => {
  process.kill(process.pid, 'SIGTERM');
  setTimeout(() => process.exit(1), PATIENCE_MS).unref();
});
// Ctrl-C on a terminal reaches every process; the demo hears it and ends the others in order.
process.on('SIGINT', () => {});
// The channel alone must not keep a process alive that is done.
process.channel?.unref();

export {};
