import { defineStep, type StepContext, unchecked } from '@stepping/core';
import { leave } from './trace.js';

/** What the code of a step does in a test, beside leaving its trace. Stored with the job. */
export interface Todo {
  /** How long it takes. Unit: ms. */
  readonly ms?: number;
  /** How long its first attempt takes. Default: as `ms`. Unit: ms. */
  readonly firstMs?: number;
}

export const args = unchecked<Todo>();

/** What steps find around them. */
export interface World {
  readonly node: string;
  readonly trace: string;
  effect(context: StepContext<any>): Promise<void>;
}

const retry = { minDelayMs: 20, maxDelayMs: 200 };
/** Far above what it takes; its end is waited for where a connection hangs. Unit: ms. */
const BOOK_TIMEOUT_MS = 4_000;

/** Three steps of an ordinary job: the second one writes to the database, exactly once. */
export const ORDINARY = ['take', 'book', 'send'] as const;
/** The same without a database. */
export const PLAIN = ['take', 'pack', 'send'] as const;

/** Every step that a test names. */
export function stepsOf(world: World) {
  const plain = <N extends string>(name: N) => defineStep({ name, args, retry, run: traced(world, name, lasts) });
  return {
    take: plain('take'),
    pack: plain('pack'),
    send: plain('send'),
    book: defineStep({
      name: 'book',
      args,
      retry,
      timeoutMs: BOOK_TIMEOUT_MS,
      run: traced(world, 'book', (context) => world.effect(context)),
    }),
    /** Ends when its signal says that its time is over, twice, and then does not get another. */
    outlives: defineStep({
      name: 'outlives',
      args,
      retry: { ...retry, maxAttempts: 2 },
      timeoutMs: 150,
      run: traced(world, 'outlives', lasts),
    }),
    /** Goes on, and ends well, when nobody wants to know any more. */
    deaf: defineStep({
      name: 'deaf',
      args,
      retry: { ...retry, maxAttempts: 2 },
      timeoutMs: 150,
      run: traced(world, 'deaf', ({ args: { ms = 0 } }) => new Promise((resolve) => setTimeout(resolve, ms))),
    }),
    kills: defineStep({
      name: 'kills',
      args,
      retry: { ...retry, maxAttempts: 3 },
      run: traced(world, 'kills', async () => process.kill(process.pid, 'SIGKILL')),
    }),
    /** Fails with a text that no database likes. */
    foul: defineStep({
      name: 'foul',
      args,
      retry: { ...retry, maxAttempts: 2 },
      run: traced(world, 'foul', () => Promise.reject(new Error(`nul \u0000, half a pair \ud800, ${'long '.repeat(200_000)}`))),
    }),
    /** Throws what is no error, and cannot be made a text of. */
    odd: defineStep({
      name: 'odd',
      args,
      retry: { ...retry, maxAttempts: 2 },
      run: traced(world, 'odd', () => Promise.reject(Object.create(null))),
    }),
    /** Of another service. */
    ship: defineStep({ name: 'ship', queue: 'shipping', args, retry, run: traced(world, 'ship', lasts) }),
    /** The name that `send` has from the next release on; stored jobs know the old one. */
    post: defineStep({ name: 'post', aliases: ['send'], args, retry, run: traced(world, 'post', lasts) }),
  };
}

export type StepName = keyof ReturnType<typeof stepsOf>;

async function lasts({ args: { ms = 0, firstMs = ms }, attempt, signal }: StepContext<typeof args>): Promise<void> {
  const lastsMs = attempt === 1 ? firstMs : ms;
  if (lastsMs === 0) return;
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(resolve, lastsMs);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

function traced({ node, trace }: World, step: string, work: (context: StepContext<typeof args>) => Promise<unknown>) {
  return async (context: StepContext<typeof args>): Promise<void> => {
    const { gid, attempt, idempotencyKey } = context;
    const line = { node, gid, step, attempt, index: Number(idempotencyKey.split('/').at(-1)) };
    leave(trace, { what: 'begins', ...line });
    await work(context);
    leave(trace, { what: 'ends', ...line });
  };
}
