import { AsyncLocalStorage } from 'node:async_hooks';
import { z } from 'zod';
import { aClaim } from '../test/support/a-claim.js';
import { anApp, errorOf, stopApps } from '../test/support/an-app.js';
import {
  type AnyStep,
  type Attempt,
  DbProviders,
  declareStep,
  defineStep,
  gidFrom,
  implementStep,
  type RunContext,
  Steps,
  stepScopeOf,
} from './index.js';

afterEach(stopApps);

const attempt = (more: Partial<Attempt> = {}): Attempt => ({
  gid: 'g',
  tenant: 'acme',
  stepIndex: 2,
  attempt: 3,
  signal: new AbortController().signal,
  claim: aClaim(),
  ...more,
});

describe('The steps of a process', () => {
  const contexts: RunContext<any, any>[] = [];
  const dated = defineStep({
    name: 'dated',
    aliases: ['dated.old'],
    queue: 'slow',
    args: z.object({ at: z.iso.datetime().transform((text) => new Date(text)) }),
    retry: { maxAttempts: 4 },
    timeoutMs: 7,
    run: (context) => void contexts.push(context),
  });

  async function opened(step: AnyStep, name: string, args: unknown, options = {}) {
    const app = await anApp({ steps: [step], ...options });
    return { ...app, runnable: await app.stepping.resolve(Steps).open({ name, args }) };
  }

  it.each(['dated', 'dated.old'])('run what is stored as %s, with parsed args and the context of the attempt', async (name) => {
    const { runnable, log } = await opened(dated, name, { at: '2026-01-02T03:04:05Z' });
    const given = attempt();
    await expect(runnable.run(given)).resolves.toBeUndefined();
    const context = contexts.pop();
    expect(context?.args.at).toEqual(new Date('2026-01-02T03:04:05Z'));
    expect(context).toMatchObject({ deps: {}, gid: 'g', tenant: 'acme', idempotencyKey: 'g/002', attempt: 3, signal: given.signal });
    context?.logger.info('hello', { more: 1 });
    expect(log.entries.at(-1)).toEqual({ level: 'info', message: 'hello', fields: { gid: 'g', step: name, attempt: 3, more: 1 } });
  });

  it('are known by their context, and by no copy of it, to who acts for them', async () => {
    const { runnable, stepping } = await opened(dated, 'dated', { at: '2026-01-02T03:04:05Z' });
    const given = attempt();
    await runnable.run(given);
    const context = contexts.pop() as RunContext<any, any>;
    expect(stepScopeOf(context)).toEqual({ claim: given.claim, databases: stepping.resolve(DbProviders) });
    expect(stepScopeOf({ ...context })).toBeUndefined();
  });

  it('say how they are tried, their own policy over that of the app over the defaults', async () => {
    const { runnable } = await opened(dated, 'dated', { at: '2026-01-02T03:04:05Z' }, { retry: { maxAttempts: 9, minDelayMs: 5 } });
    expect(runnable).toMatchObject({ retry: { maxAttempts: 4, minDelayMs: 5, maxDelayMs: 3_600_000 }, timeoutMs: 7 });
    const { runnable: plain } = await opened(defineStep({ name: 'plain', run() {} }), 'plain', undefined);
    expect(plain).toMatchObject({ retry: { maxAttempts: Number.POSITIVE_INFINITY, minDelayMs: 1_000 }, timeoutMs: 300_000 });
  });

  it('are not runnable when no step has that name, with a hint at aliases', async () => {
    const error = await errorOf(() => opened(dated, 'renamed', undefined));
    expect(error.code).toBe('STEP_NOT_RUNNABLE');
    expect(error.message).toMatch(/renamed.*aliases/);
  });

  it('do not run with stored args that no longer parse', async () => {
    const error = await errorOf(() => opened(dated, 'dated', { at: 5 }));
    expect(error.code).toBe('ARGS_INVALID');
    expect(error.message).toContain('step dated');
  });

  it('reject with whatever the user throws, also what is thrown at once', async () => {
    const boom = new Error('boom');
    const throwing = defineStep({
      name: 'throwing',
      run() {
        throw boom;
      },
    });
    const { runnable } = await opened(throwing, 'throwing', undefined);
    expect(await errorOf(() => runnable.run(attempt()))).toBe(boom);
  });

  it('serve the queues of what is implemented here, each once', async () => {
    const contract = declareStep({ name: 'c', queue: 'slow' });
    const { stepping } = await anApp({ steps: [dated, defineStep({ name: 'd', run() {} }), implementStep(contract, { run() {} })] });
    expect(stepping.resolve(Steps).queues()).toEqual(['slow', 'default']);
  });

  it('say which of them have bounded attempts, by their own policy or that of the app', async () => {
    const own = defineStep({ name: 'own', retry: { maxAttempts: 3 }, run() {} });
    const unbounded = defineStep({ name: 'unbounded', retry: { maxAttempts: Number.POSITIVE_INFINITY }, run() {} });
    const silent = defineStep({ name: 'silent', run() {} });
    const one = await anApp({ steps: [own, unbounded, silent] });
    expect(one.stepping.resolve(Steps).bounded()).toEqual(['own']);
    const other = await anApp({ steps: [own, unbounded, silent], retry: { maxAttempts: 9 } });
    expect(other.stepping.resolve(Steps).bounded()).toEqual(['own', 'silent']);
  });

  it('do not inherit the async context of whoever started them', async () => {
    const context = new AsyncLocalStorage<string>();
    const seen: (string | undefined)[] = [];
    const looks = defineStep({ name: 'looks', run: () => void seen.push(context.getStore()) });
    const { runnable } = await opened(looks, 'looks', undefined);
    await context.run('a transaction', () => runnable.run(attempt()));
    expect(seen).toEqual([undefined]);
  });
});

describe('A job started from a step', () => {
  async function children(options: readonly object[]) {
    const gids: string[] = [];
    const parent = defineStep({
      name: 'parent',
      async run({ createJob }) {
        for (const one of options)
          gids.push(
            (
              await createJob(one)
                .addStep(parent as AnyStep)
                .start()
            ).gid,
          );
      },
    });
    const app = await anApp({ steps: [parent] });
    const runnable = await app.stepping.resolve(Steps).open({ name: 'parent', args: undefined });
    const run = async () => {
      await runnable.run(attempt());
      return gids.splice(0);
    };
    return { ...app, run };
  }

  it('has a gid that derives from the idempotency key, so that a repeat starts nothing twice', async () => {
    const { run, tm } = await children([{}, {}]);
    const first = await run();
    expect(first).toEqual([gidFrom('child', 'g/002', '0'), gidFrom('child', 'g/002', '1')]);
    expect(await run()).toEqual(first);
    expect(tm.rows.size).toBe(2);
  });

  it('keeps its gid whatever the one before was given', async () => {
    const { run } = await children([{ gid: 'mine' }, { gid: undefined }]);
    expect(await run()).toEqual(['mine', gidFrom('child', 'g/002', '1')]);
  });

  it('inherits the tenant unless it is given one', async () => {
    const { run, tm } = await children([{ tenant: undefined }, { tenant: 'other' }]);
    const [first, second] = await run();
    expect(tm.rows.get(first ?? '')?.job.tenant).toBe('acme');
    expect(tm.rows.get(second ?? '')?.job.tenant).toBe('other');
  });
});
