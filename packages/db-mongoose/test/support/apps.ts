import { createStepping, defineStep, type Stepping, type SteppingOptions, unchecked } from '@stepping/core';
import { localTm, memoryStore } from '@stepping/tm-local';
import { hostedProcessor } from '@stepping/tm-local-hosted-processor';

export const ran: string[] = [];
export const sendMail = defineStep({
  name: 'order.send-mail',
  args: unchecked<{ order: number }>(),
  run: ({ gid }) => void ran.push(gid),
});

const apps: Stepping[] = [];

/** An app with its jobs in memory, so that every transaction takes the two-phase path. Nothing runs them, unless `runs`. */
export function anApp({ runs = false, ...options }: Partial<SteppingOptions> & { runs?: boolean }): Stepping {
  const stepping = createStepping({
    steps: [sendMail],
    tm: localTm({ store: memoryStore(), processor: runs && hostedProcessor({ maxPollMs: 50 }), prepareTimeoutMs: runs ? 100 : 600_000 }),
    ...options,
  });
  apps.push(stepping);
  return stepping;
}

export async function started(options: Parameters<typeof anApp>[0]): Promise<Stepping> {
  const stepping = anApp(options);
  await stepping.start();
  return stepping;
}

export async function stopApps(): Promise<void> {
  await Promise.all(apps.splice(0).map((stepping) => stepping.stop({ drainTimeoutMs: 0 })));
}

/** The error that `work` ends with; fails if it ends well. */
export async function errorOf(work: Promise<unknown> | (() => unknown)): Promise<any> {
  try {
    await (typeof work === 'function' ? work() : work);
  } catch (error) {
    return error;
  }
  throw new Error('It was expected to fail, but did not');
}
