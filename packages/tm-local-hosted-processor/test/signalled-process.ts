// A process of its own, for signals.test.ts: runs one step that ends when it is told to by its standard input, and stops by SIGTERM alone.
import { createStepping, defineStep } from '@stepping/core';
import { localTm, memoryStore } from '@stepping/tm-local';
import { hostedProcessor } from '@stepping/tm-local-hosted-processor';

const say = (line: string) => process.stdout.write(`${line}\n`);
const told = new Promise<void>((resolve) => process.stdin.once('data', () => resolve()));

const step = defineStep({
  name: 'work',
  async run() {
    say('begun');
    await told;
  },
});
const stepping = createStepping({
  steps: [step],
  tm: localTm({ store: memoryStore(), processor: hostedProcessor({ handleSignals: true }) }),
});
stepping.on('step.succeeded', () => say('succeeded'));
await stepping.start();
await stepping.createJob().addStep(step).start();
