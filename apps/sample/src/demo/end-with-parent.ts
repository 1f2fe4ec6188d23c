// Preloaded into every process that the demo starts: none outlives it, however it ends.
process.once('disconnect', () => process.exit(1));
// The channel alone must not keep a process alive that is done.
process.channel?.unref();

export {};
