import { afterEach, describe, expect, it } from '@jest/globals';
import { defineStep, type LedgerAnswer, permanent, retryAfter, type StepContext, stepScopeOf, unchecked } from '@stepping/core';
import { ProcessLedger } from '../src/process-ledger.js';
import { anEndpoint, LEDGER_REF, stopApps, until } from './support/an-endpoint.js';
import { aStepMessage, stepCallback, toRequest } from './support/callbacks.js';

afterEach(stopApps);

/** A step that counts its runs and does what the test says. */
function aStep(run: (context: StepContext<{ n: number } | undefined>, runs: number) => unknown = () => {}, more: object = {}) {
  const ran: StepContext<{ n: number } | undefined>[] = [];
  const step = defineStep({
    name: 'charge',
    args: unchecked<{ n: number } | undefined>(),
    ...more,
    run: (context) => {
      ran.push(context);
      return run(context, ran.length);
    },
  });
  return { step, ran };
}

/** Something that the test lets go on. */
function aGate() {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  return { opened: promise, open: resolve, fail: reject };
}

describe('The callback of a step', () => {
  it('runs it with what the message says, and answers 200 once that is written down', async () => {
    const { step, ran } = aStep();
    const app = await anEndpoint({ steps: [step] });
    expect(await app.step(aStepMessage({ position: 1, of: 2, args: '{"n":7}', tenant: 'acme' }))).toBe(200);
    expect(ran).toMatchObject([{ args: { n: 7 }, gid: 'order-1', tenant: 'acme', idempotencyKey: 'order-1/001', attempt: 1 }]);
    expect(app.told).toEqual(['step.started', 'step.succeeded', 'job.succeeded']);
    expect(app.events[1]?.payload).toMatchObject({
      gid: 'order-1',
      step: 'charge',
      stepIndex: 1,
      attempt: 1,
      durationMs: expect.any(Number),
    });
    expect(await app.database.ledger?.read('order-1', 'an-instance', LEDGER_REF)).toMatchObject([{ position: 1, state: 'done' }]);
  });

  it('does not tell of a job that has more steps', async () => {
    const { step } = aStep();
    const app = await anEndpoint({ steps: [step] });
    await app.step(aStepMessage({ of: 2 }));
    expect(app.told).toEqual(['step.started', 'step.succeeded']);
  });

  it('runs it once when it is delivered twice, also late', async () => {
    const { step, ran } = aStep();
    const app = await anEndpoint({ steps: [step] });
    const first = aStepMessage({ of: 2 });
    const second = aStepMessage({ of: 2, position: 1 });
    expect([await app.step(first), await app.step(first), await app.step(second), await app.step(first), await app.step(second)]).toEqual([
      200, 200, 200, 200, 200,
    ]);
    expect(ran).toHaveLength(2);
  });

  it('runs it once when it is delivered in parallel, and gives all of them its answer', async () => {
    const gate = aGate();
    const { step, ran } = aStep(() => gate.opened);
    const app = await anEndpoint({ steps: [step] });
    const answers = Array.from({ length: 5 }, () => app.step(aStepMessage()));
    await until(() => ran.length > 0);
    gate.open();
    expect(await Promise.all(answers)).toEqual([200, 200, 200, 200, 200]);
    expect(ran).toHaveLength(1);
  });

  it('is asked to come later while another process runs the step', async () => {
    const gate = aGate();
    const here = aStep(() => gate.opened);
    const there = aStep();
    const app = await anEndpoint({ steps: [here.step] });
    const other = await anEndpoint({ steps: [there.step] });
    other.database.ledger = app.database.ledger;
    const first = app.step(aStepMessage());
    await until(() => here.ran.length > 0);
    expect(await other.step(aStepMessage())).toBe(425);
    gate.open();
    expect(await first).toBe(200);
    expect(await other.step(aStepMessage())).toBe(200);
    expect(there.ran).toHaveLength(0);
  });

  it('of a former message of the job is told nothing of a run of the redriven one, nor the other way round', async () => {
    const { opened, open } = aGate();
    const { step, ran } = aStep(() => opened);
    const app = await anEndpoint({ steps: [step] });
    const redriven = app.step(aStepMessage({ generation: 1 }));
    await until(() => ran.length === 1);
    expect(await app.step(aStepMessage())).toBe(500);
    open();
    expect(await redriven).toBe(200);
    expect(ran).toHaveLength(1);
  });

  it('of a job of another service, which knows no database of this one, is counted in the first one here', async () => {
    const { step } = aStep((_, runs) => {
      if (runs === 1) throw new Error('not yet');
    });
    const app = await anEndpoint({ steps: [step] });
    await app.stepping.handle(toRequest(stepCallback(aStepMessage())));
    expect(await app.database.ledger?.read('order-1', 'an-instance', LEDGER_REF)).toMatchObject([{ attempts: 1, state: 'open' }]);
  });

  it('of a step that takes longer than DTM waits is answered 425 in time; the step runs on, and is not begun again', async () => {
    const gate = aGate();
    const { step, ran } = aStep(() => gate.opened);
    const app = await anEndpoint({ steps: [step], requestTimeoutMs: 50 });
    const sentAt = performance.now();
    expect(await app.step(aStepMessage())).toBe(425);
    expect(performance.now() - sentAt).toBeGreaterThan(40);
    expect(await app.step(aStepMessage())).toBe(425);
    gate.open();
    await until(() => app.told.includes('job.succeeded'));
    expect(await app.step(aStepMessage())).toBe(200);
    expect(ran).toHaveLength(1);
  });

  it('of a step that nobody knows here is answered 425, tells of it, and counts nothing', async () => {
    const app = await anEndpoint();
    expect(await app.step(aStepMessage())).toBe(425);
    expect(app.events).toMatchObject([
      { name: 'step.unrunnable', payload: { gid: 'order-1', step: 'charge', error: { code: 'STEP_NOT_RUNNABLE' } } },
    ]);
    expect(await app.database.ledger?.read('order-1', 'an-instance', LEDGER_REF)).toEqual([]);
  });

  it('whose args no longer parse, or whose ledger is in a database that is not known here, is answered alike', async () => {
    const { step, ran } = aStep(() => {}, {
      args: { '~standard': { version: 1, vendor: 'test', validate: () => ({ issues: [{ message: 'no' }] }) } },
    });
    const app = await anEndpoint({ steps: [step] });
    expect(await app.step(aStepMessage({ args: '{"n":1}' }))).toBe(425);
    expect(await app.step(aStepMessage({ ledger: { provider: 'a-database', name: 'elsewhere' } }))).toBe(425);
    expect(app.events.map(({ payload }) => payload.error.code)).toEqual(['ARGS_INVALID', 'DB_UNKNOWN']);
    expect(ran).toHaveLength(0);
  });

  it('with the right signature on a text of a later release, or of none, is answered 425 and told of', async () => {
    const { step, ran } = aStep();
    const app = await anEndpoint({ steps: [step] });
    expect(await app.step({ ...aStepMessage(), v: 2 as 1 })).toBe(425);
    expect(await app.step({ ...aStepMessage(), position: 3 })).toBe(425);
    expect(app.log.filter(({ level }) => level === 'error')).toHaveLength(2);
    expect(ran).toHaveLength(0);
  });
});

describe('A step that fails', () => {
  it('is tried again once its backoff has passed, and not before', async () => {
    const { step, ran } = aStep(
      (_, runs) => {
        if (runs === 1) throw new Error('not now');
      },
      { retry: { minDelayMs: 150 } },
    );
    const app = await anEndpoint({ steps: [step] });
    const failedAt = performance.now();
    expect(await app.step(aStepMessage())).toBe(425);
    expect(await app.step(aStepMessage())).toBe(425);
    expect(ran).toHaveLength(1);
    await until(async () => (await app.step(aStepMessage())) === 200);
    expect(performance.now() - failedAt).toBeGreaterThan(140);
    expect(ran.map(({ attempt }) => attempt)).toEqual([1, 2]);
    expect(app.events.find(({ name }) => name === 'step.failed')?.payload).toMatchObject({ attempt: 1, nextAttemptAt: expect.any(Date) });
  });

  it('lets DTM double its interval only where the backoff is that long', async () => {
    const { step } = aStep((_, runs) => {
      throw retryAfter([19_000, 20_000, 39_000, 40_000, 10_000][runs - 1] as number);
    });
    const ledger = new ProcessLedger();
    const now = performance.now;
    try {
      const app = await anEndpoint({ steps: [step], retryIntervalMs: 10_000 });
      app.database.ledger = ledger;
      const answers: number[] = [];
      let passedMs = 0;
      performance.now = () => now.call(performance) + passedMs;
      for (let i = 0; i < 5; i++) {
        answers.push(await app.step(aStepMessage()));
        passedMs += 60_000;
      }
      // 10 s is the interval at first, 20 s after the second answer, 40 s after the fourth.
      expect(answers).toEqual([425, 500, 425, 500, 425]);
    } finally {
      performance.now = now;
    }
  });

  it('more often than it may is dead: the answer is 500, its message is stopped, and it never runs again', async () => {
    const { step, ran } = aStep(
      () => {
        throw new Error('never');
      },
      { retry: { maxAttempts: 2, minDelayMs: 0 } },
    );
    const app = await anEndpoint({ steps: [step] });
    expect(await app.step(aStepMessage())).toBe(425);
    expect(await app.step(aStepMessage())).toBe(500);
    expect(app.told).toEqual(['step.started', 'step.failed', 'step.started', 'step.failed', 'job.failed']);
    expect(app.events.at(-1)?.payload).toMatchObject({ gid: 'order-1', step: 'charge', error: { message: 'never' } });
    await until(() => app.stopped.length === 1);
    expect(await app.step(aStepMessage())).toBe(500);
    expect(ran).toHaveLength(2);
    expect(app.told.filter((event) => event === 'job.failed')).toHaveLength(1);
  });

  it('for good is dead at once', async () => {
    const { step } = aStep(() => {
      throw permanent('the card does not exist');
    });
    const app = await anEndpoint({ steps: [step] });
    expect(await app.step(aStepMessage())).toBe(500);
    expect(app.told).toEqual(['step.started', 'step.failed', 'job.failed']);
    expect(await app.database.ledger?.read('order-1', 'an-instance', LEDGER_REF)).toMatchObject([
      { state: 'dead', attempts: 1, lastError: { name: 'STEP_PERMANENT', message: 'the card does not exist' } },
    ]);
  });

  it('is dead in the ledger before anybody is told, and its message is stopped only after the answer', async () => {
    const order: string[] = [];
    const { step } = aStep(() => {
      throw permanent('no');
    });
    const app = await anEndpoint({
      steps: [step],
      server: {
        forceStop: async () => {
          order.push('stopped');
          return 'done';
        },
      },
    });
    const ledger = new ProcessLedger();
    const end = ledger.end.bind(ledger);
    ledger.end = async (...args) => {
      order.push('written');
      return end(...args);
    };
    app.database.ledger = ledger;
    app.stepping.on('job.failed', () => order.push('told'));
    await app.step(aStepMessage());
    order.push('answered');
    await until(() => order.includes('stopped'));
    expect(order.slice(0, 4)).toEqual(['written', 'told', 'answered', 'stopped']);
  });

  it('is dead for its generation: a redrive of the rest runs it anew, and the former message never again', async () => {
    const { step, ran } = aStep((_, runs) => {
      if (runs === 1) throw permanent('not yet');
    });
    const app = await anEndpoint({ steps: [step] });
    expect(await app.step(aStepMessage())).toBe(500);
    expect(await app.step(aStepMessage({ generation: 1 }))).toBe(200);
    expect(ran.map(({ attempt, idempotencyKey }) => [attempt, idempotencyKey])).toEqual([
      [1, 'order-1/000'],
      [1, 'order-1/000'],
    ]);
    expect(await app.step(aStepMessage())).not.toBe(425);
    expect(ran).toHaveLength(2);
  });

  it('by taking longer than it may is told so by its signal, and counts as failed', async () => {
    const { step, ran } = aStep(({ signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))), {
      timeoutMs: 30,
      retry: { minDelayMs: 0 },
    });
    const app = await anEndpoint({ steps: [step] });
    expect(await app.step(aStepMessage())).toBe(425);
    expect(ran[0]?.signal.reason).toMatchObject({ code: 'STEP_TIMEOUT' });
    expect(app.events.at(-1)).toMatchObject({ name: 'step.failed', payload: { error: { code: 'STEP_TIMEOUT' } } });
  });

  it('by an end that comes after its timeout changes nothing any more', async () => {
    const gate = aGate();
    const { step } = aStep((_, runs) => (runs === 1 ? gate.opened : undefined), { timeoutMs: 30, retry: { maxAttempts: 1 } });
    const app = await anEndpoint({ steps: [step] });
    expect(await app.step(aStepMessage())).toBe(500);
    gate.open();
    await new Promise((resolve) => setImmediate(resolve));
    expect(await app.step(aStepMessage())).toBe(500);
    expect(app.told).not.toContain('step.succeeded');
  });

  it('without any ledger is stopped all the same when it failed for good, and keeps its attempts as long as the process lives', async () => {
    const { step, ran } = aStep(
      (_, runs) => {
        throw runs === 1 ? new Error('once more') : permanent('no');
      },
      { retry: { minDelayMs: 0 } },
    );
    const app = await anEndpoint({ steps: [step] });
    const send = async () => (await app.stepping.handle(toRequest(stepCallback(aStepMessage())))).status;
    expect([await send(), await send(), await send()]).toEqual([425, 500, 500]);
    expect(ran.map(({ attempt }) => attempt)).toEqual([1, 2]);
    await until(() => app.stopped.length === 1);
  });
});

describe('The lease of a step', () => {
  it('is prolonged while the step runs, so that nobody else begins', async () => {
    const gate = aGate();
    const { step, ran } = aStep(() => gate.opened);
    const app = await anEndpoint({ steps: [step], leaseMs: 1_500, requestTimeoutMs: 20 });
    const other = await anEndpoint({ steps: [step], leaseMs: 1_500 });
    other.database.ledger = app.database.ledger;
    await app.step(aStepMessage());
    const since = performance.now();
    while (performance.now() - since < 3_000) {
      expect(await other.step(aStepMessage())).toBe(425);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    gate.open();
    await until(async () => (await other.step(aStepMessage())) === 200);
    expect(ran).toHaveLength(1);
  });

  it('that was lost aborts the signal, tells of it, and the attempt writes nothing', async () => {
    const { step, ran } = aStep(
      ({ signal }, runs) => runs === 1 && new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
    );
    const app = await anEndpoint({ steps: [step], leaseMs: 60 });
    const ledger = new ProcessLedger();
    app.database.ledger = ledger;
    const extend = ledger.extend.bind(ledger);
    ledger.extend = async () => false;
    expect(await app.step(aStepMessage())).toBe(425);
    expect(ran[0]?.signal.reason).toMatchObject({ code: 'LEASE_LOST' });
    expect(app.told).toEqual(['step.started', 'job.lease-lost']);
    ledger.extend = extend;
    await until(async () => (await app.step(aStepMessage())) === 200);
    expect(ran.map(({ attempt }) => attempt)).toEqual([1, 2]);
  });

  it('that was lost unnoticed, until the end of the attempt, leaves its outcome to whoever has the step', async () => {
    const { step } = aStep();
    const app = await anEndpoint({ steps: [step] });
    const ledger = new ProcessLedger();
    ledger.end = async () => false;
    app.database.ledger = ledger;
    expect(await app.step(aStepMessage())).toBe(425);
    expect(app.told).toEqual(['step.started', 'job.lease-lost']);
  });

  it('of a process that went silent runs out; its attempt counts, and after the last one the step is dead', async () => {
    const { step, ran } = aStep(() => {}, { retry: { maxAttempts: 1 } });
    const app = await anEndpoint({ steps: [step] });
    const { gid, instance, position } = aStepMessage();
    await app.database.ledger?.begin({ gid, instance, position, generation: 0, token: 'gone', maxAttempts: 1, leaseMs: 30 }, LEDGER_REF);
    await until(async () => (await app.step(aStepMessage())) === 500);
    expect(await app.step(aStepMessage())).toBe(500);
    expect(ran).toHaveLength(0);
    expect(app.told).toEqual(['step.failed', 'job.failed']);
  });
});

describe('A ledger that does not answer', () => {
  it('begins nothing: the step does not run, and DTM asks again', async () => {
    const { step, ran } = aStep();
    const app = await anEndpoint({ steps: [step] });
    const ledger = new ProcessLedger();
    const begin = ledger.begin.bind(ledger);
    ledger.begin = async () => {
      throw new Error('connection refused');
    };
    app.database.ledger = ledger;
    expect(await app.step(aStepMessage())).toBe(425);
    expect(ran).toHaveLength(0);
    ledger.begin = begin;
    expect(await app.step(aStepMessage())).toBe(200);
  });

  it('for a moment is sent the same claim again, which counts one attempt', async () => {
    const { step, ran } = aStep();
    const app = await anEndpoint({ steps: [step] });
    const ledger = new ProcessLedger();
    const begin = ledger.begin.bind(ledger);
    let sent = 0;
    ledger.begin = async (claim) => {
      const said = await begin(claim);
      if (++sent === 1) throw new Error('connection lost after it came');
      return said;
    };
    app.database.ledger = ledger;
    expect(await app.step(aStepMessage())).toBe(200);
    expect(ran.map(({ attempt }) => attempt)).toEqual([1]);
  });

  it('and counted an attempt all the same has it taken back, so that it is no last one that nobody made', async () => {
    const { step, ran } = aStep(() => {}, { retry: { maxAttempts: 1 } });
    const app = await anEndpoint({ steps: [step] });
    const ledger = new ProcessLedger();
    const begin = ledger.begin.bind(ledger);
    ledger.begin = async (claim) => {
      await begin(claim);
      throw new Error('connection lost after it came');
    };
    app.database.ledger = ledger;
    expect(await app.step(aStepMessage())).toBe(425);
    ledger.begin = begin;
    await until(async () => (await app.step(aStepMessage())) === 200);
    expect(ran.map(({ attempt }) => attempt)).toEqual([1]);
    expect(app.told).toEqual(['step.started', 'step.succeeded', 'job.succeeded']);
  });

  it('is sent the very same write again until it does, and only then DTM hears that the step is done', async () => {
    const { step, ran } = aStep();
    const app = await anEndpoint({ steps: [step] });
    const ledger = new ProcessLedger();
    const end = ledger.end.bind(ledger);
    const sent: unknown[] = [];
    ledger.end = async (...args) => {
      sent.push(args.slice(0, 2));
      if (sent.length === 1) throw new Error('connection lost before it came');
      const written = await end(...args);
      if (sent.length === 2) throw new Error('connection lost after it came');
      return written;
    };
    app.database.ledger = ledger;
    expect(await app.step(aStepMessage())).toBe(200);
    expect(sent).toHaveLength(3);
    expect(new Set(sent.map((one) => JSON.stringify(one))).size).toBe(1);
    expect(ran).toHaveLength(1);
  });

  it('for longer than the lease is given up: 425, and nothing is told', async () => {
    const { step } = aStep();
    const app = await anEndpoint({ steps: [step], leaseMs: 60 });
    const ledger = new ProcessLedger();
    ledger.end = async () => {
      throw new Error('connection refused');
    };
    app.database.ledger = ledger;
    expect(await app.step(aStepMessage())).toBe(425);
    expect(app.told).toEqual(['step.started']);
  });

  it('in time to begin leaves too little of the lease: the attempt is handed back, uncounted', async () => {
    const { step, ran } = aStep();
    const app = await anEndpoint({ steps: [step], leaseMs: 50 });
    const ledger = new ProcessLedger();
    const begin = ledger.begin.bind(ledger);
    ledger.begin = async (claim): Promise<LedgerAnswer> => {
      const said = await begin(claim);
      await new Promise((resolve) => setTimeout(resolve, 60));
      return said;
    };
    app.database.ledger = ledger;
    expect(await app.step(aStepMessage())).toBe(425);
    expect(ran).toHaveLength(0);
    expect(await ledger.read('order-1', 'an-instance')).toMatchObject([{ state: 'open', attempts: 0 }]);
  });
});

describe('What a step may know of its claim (for once)', () => {
  const claimOf = (context: object) => stepScopeOf(context as never)?.claim as NonNullable<ReturnType<typeof stepScopeOf>>['claim'];

  it('is young and ours while it runs, and neither once its attempt has ended', async () => {
    const said: unknown[] = [];
    const { step, ran } = aStep(async (context) => {
      const claim = claimOf(context);
      said.push(claim.instance, claim.isOld(), await claim.isStillOurs());
    });
    const app = await anEndpoint({ steps: [step] });
    expect(await app.step(aStepMessage())).toBe(200);
    expect(said).toEqual(['an-instance', false, true]);
    const claim = claimOf(ran[0] as object);
    expect([claim.isOld(), await claim.isStillOurs()]).toEqual([true, false]);
  });

  it('is old when the lease was not renewed in time, and ours only if the ledger says so', async () => {
    const said: unknown[] = [];
    const ledger = new ProcessLedger();
    const { step } = aStep(async (context) => {
      const claim = claimOf(context);
      await until(() => claim.isOld());
      said.push(await claim.isStillOurs().catch(() => 'cannot say'));
      ledger.extend = async () => true;
      said.push(await claim.isStillOurs());
      ledger.extend = async () => false;
      said.push(await claim.isStillOurs());
    });
    const app = await anEndpoint({ steps: [step], leaseMs: 60 });
    ledger.extend = async () => {
      throw new Error('connection refused');
    };
    app.database.ledger = ledger;
    await app.step(aStepMessage());
    expect(said).toEqual(['cannot say', true, false]);
  });

  it('is old and not ours once half of what the ledger remembers has passed since the callback came', async () => {
    const said: unknown[] = [];
    const { step } = aStep(async (context) => {
      const claim = claimOf(context);
      const now = performance.now;
      performance.now = () => now.call(performance) + 16 * 86_400_000;
      try {
        said.push(claim.isOld(), await claim.isStillOurs());
      } finally {
        performance.now = now;
      }
    });
    const app = await anEndpoint({ steps: [step] });
    await app.step(aStepMessage());
    expect(said).toEqual([true, false]);
  });
});

describe('stop()', () => {
  it('begins no step any more, waits for those that run, and answers their callbacks', async () => {
    const gate = aGate();
    const { step, ran } = aStep(() => gate.opened);
    const app = await anEndpoint({ steps: [step] });
    const answer = app.step(aStepMessage());
    await until(() => ran.length > 0);
    const stopped = app.stepping.stop({ drainTimeoutMs: 5_000 });
    expect(await app.step(aStepMessage({ gid: 'order-2' }))).toBe(425);
    gate.open();
    expect(await answer).toBe(200);
    await stopped;
    expect(ran).toHaveLength(1);
    expect((await app.stepping.handle(toRequest(stepCallback(aStepMessage())))).status).toBe(503);
  });

  it('aborts what does not end in time and hands it back, uncounted', async () => {
    const { step, ran } = aStep(({ signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))));
    const app = await anEndpoint({ steps: [step] });
    const answer = app.step(aStepMessage());
    await until(() => ran.length > 0);
    await app.stepping.stop({ drainTimeoutMs: 20 });
    expect(await answer).toBe(425);
    expect(ran[0]?.signal.reason).toMatchObject({ code: 'NOT_STARTED' });
    expect(await app.database.ledger?.read('order-1', 'an-instance', LEDGER_REF)).toMatchObject([{ state: 'open', attempts: 0 }]);
    expect(app.told).toEqual(['step.started']);
  });

  it('does not hand back a step that ignores its abort, as it would run twice at once', async () => {
    const { step, ran } = aStep(() => new Promise(() => {}));
    const app = await anEndpoint({ steps: [step] });
    const answer = app.step(aStepMessage());
    await until(() => ran.length > 0);
    const calledAt = performance.now();
    await app.stepping.stop({ drainTimeoutMs: 20 });
    expect(performance.now() - calledAt).toBeLessThan(10_000);
    expect(await answer).toBe(425);
    expect(await app.database.ledger?.read('order-1', 'an-instance', LEDGER_REF)).toMatchObject([{ state: 'open', attempts: 1 }]);
  });

  it('ends when it is called from a step, too', async () => {
    const { step } = aStep(async () => {
      await app.stepping.stop({ drainTimeoutMs: 20 });
    });
    const app = await anEndpoint({ steps: [step] });
    expect([200, 425]).toContain(await app.step(aStepMessage()));
  });
});
