import { Log, SteppingError, type Token, token } from '@stepping/core';
import { LocalEngine, type ProcessorPlugin } from '@stepping/tm-local';
import { Processor, type ProcessorOptions } from './processor.js';

const SIGNALS = ['SIGTERM', 'SIGINT'] as const;

/**
 * Runs the local TM's jobs in this process: starts with `stepping.start()`, drains with `stepping.stop()`.
 *
 * @throws {@link SteppingError} `CONFIG_INVALID`
 * @example localTm({ store, processor: hostedProcessor({ concurrency: 32 }) })
 */
export function hostedProcessor(options: ProcessorOptions = {}): ProcessorPlugin {
  atLeast('concurrency', options.concurrency, 1);
  atLeast('maxPollMs', options.maxPollMs, 50);
  atLeast('drainTimeoutMs', options.drainTimeoutMs, 0);
  const HostedProcessor: Token<Processor> = token<Processor>('HostedProcessor');
  let stopListening = () => {};
  return {
    name: 'tm-local-hosted-processor',
    provides: 'processor',
    requires: [LocalEngine],
    register: (registry) =>
      registry.provide(HostedProcessor, (r) => new Processor({ engine: r.resolve(LocalEngine), log: r.resolve(Log), options })),
    start(r) {
      const processor = r.resolve(HostedProcessor);
      processor.start();
      if (options.handleSignals) stopListening = stopOnSignal(processor);
    },
    quiesce: (r) => r.resolve(HostedProcessor).quiesce(),
    async stop(r, { drainTimeoutMs }) {
      stopListening();
      await r.resolve(HostedProcessor).stop(drainTimeoutMs);
    },
  };
}

/** Stops the processor, and then lets the signal end the process as it would have done without us. */
function stopOnSignal(processor: Processor): () => void {
  const stopListening = () => {
    for (const signal of SIGNALS) process.off(signal, onSignal);
  };
  const onSignal = (signal: NodeJS.Signals) => {
    stopListening();
    void processor.stop(undefined).finally(() => process.kill(process.pid, signal));
  };
  for (const signal of SIGNALS) process.on(signal, onSignal);
  return stopListening;
}

function atLeast(option: string, value: number | undefined, least: number): void {
  if (value === undefined || (Number.isInteger(value) && value >= least)) return;
  throw new SteppingError('CONFIG_INVALID', `hostedProcessor({ ${option}: ${value} }): it is a whole number, and at least ${least}.`, {
    option,
    value,
  });
}
