import 'reflect-metadata';
import { inject, injectable, singleton, container as tsyringe } from 'tsyringe';
import { aClaim } from '../test/support/a-claim.js';
import { errorOf } from '../test/support/an-app.js';
import { MemoryTm } from '../test/support/memory-tm.js';
import { type AnyStep, createStepping, defineStep, provide, type StepContext, type SteppingOptions, Steps, step, token } from './index.js';

// These tests are compiled with legacy decorators and their metadata; the other compilers of the table have tests of their own.

interface Mailer {
  readonly name: string;
}
const Mailer = token<Mailer>('Mailer');
const Text = Symbol('Text');
const mail = (name: string) => provide(Mailer, () => ({ name }));

async function started(options: Partial<SteppingOptions>) {
  const stepping = createStepping({ tm: new MemoryTm().plugin, ...options } as SteppingOptions);
  await stepping.start();
  return stepping;
}

/** What a step's run returned, by way of its side effect on `seen`. */
const seen: unknown[] = [];
async function run(options: Partial<SteppingOptions> & { steps: readonly AnyStep[] }, name: string): Promise<unknown> {
  const stepping = await started(options);
  const runnable = await stepping.resolve(Steps).open({ name, args: undefined });
  await runnable.run({ gid: 'g', tenant: undefined, stepIndex: 0, attempt: 1, signal: new AbortController().signal, claim: aClaim() });
  return seen.pop();
}

class Warehouse {
  reserve(): string {
    return 'reserved';
  }
}
abstract class Clock {
  abstract now(): number;
}
@injectable()
class Sms {
  constructor(readonly warehouse: Warehouse) {}
}
@singleton()
class Shared {}
interface Shape {
  readonly sides: number;
}

describe('What a step injects', () => {
  const byTokens = defineStep({ name: 's', inject: { mailer: Mailer, warehouse: Warehouse }, run: ({ deps }) => void seen.push(deps) });

  it('comes as deps, from tokens and classes', async () => {
    const deps = (await run({ steps: [byTokens], use: [mail('ours')] }, 's')) as { mailer: Mailer; warehouse: Warehouse };
    expect(deps.mailer.name).toBe('ours');
    expect(deps.warehouse.reserve()).toBe('reserved');
  });

  it('is resolved once, at start', async () => {
    let made = 0;
    const stepping = await started({ steps: [byTokens], use: [provide(Mailer, () => ({ name: `${++made}` }))] });
    expect(made).toBe(1);
    const steps = stepping.resolve(Steps);
    for (const attempt of [1, 2]) {
      const runnable = await steps.open({ name: 's', args: undefined });
      await runnable.run({ gid: 'g', tenant: undefined, stepIndex: 0, attempt, signal: new AbortController().signal, claim: aClaim() });
    }
    expect(seen.splice(0)).toHaveLength(2);
    expect(made).toBe(1);
  });

  it('is missing at start(), naming step and dependency', async () => {
    const error = await errorOf(() => started({ steps: [byTokens] }));
    expect(error.code).toBe('DEPENDENCY_MISSING');
    expect(error.message).toMatch(/^Step s asks for deps\.mailer \(Mailer\)\. Nothing provides Mailer\. Add provide\(Mailer/);
  });

  it('is missing, too, when it is an abstract class that nobody provides', async () => {
    const needsClock = defineStep({ name: 's', inject: { clock: Clock }, run() {} });
    const error = await errorOf(() => started({ steps: [needsClock] }));
    expect(error.code).toBe('DEPENDENCY_MISSING');
    expect(error.message).toMatch(/deps\.clock \(Clock\).*provide\(Clock/);
    const stepping = await started({});
    for (const _ of ['asked', 'asked again']) expect((await errorOf(() => stepping.resolve(Clock))).code).toBe('DEPENDENCY_MISSING');
    await started({ steps: [needsClock], use: [provide(Clock, () => ({ now: () => 1 }))] });
  });

  it('says so when an import circle left it undefined', async () => {
    const error = await errorOf(() => started({ steps: [defineStep({ name: 's', inject: { x: undefined as never }, run() {} })] }));
    expect(error.code).toBe('DEPENDENCY_MISSING');
    expect(error.message).toMatch(/Step s .*deps\.x.*import each other/);
  });

  it('fails the start, naming step and dependency, when its factory throws', async () => {
    const broken = provide(Mailer, () => {
      throw new Error('no smtp url');
    });
    const error = await errorOf(() => started({ steps: [byTokens], use: [broken] }));
    expect(error.message).toMatch(/Step s .*deps\.mailer.*no smtp url/);
    expect(error.cause.message).toBe('no smtp url');
  });
});

describe('The container of the application', () => {
  const byToken = defineStep({ name: 's', inject: { mailer: Mailer }, run: ({ deps }) => void seen.push(deps.mailer) });

  it('is asked for what ours does not know, by the key of a token', async () => {
    const theirs = tsyringe.createChildContainer();
    theirs.register(Mailer.key, { useValue: { name: 'theirs' } });
    expect(await run({ steps: [byToken], container: theirs }, 's')).toEqual({ name: 'theirs' });
    expect(await run({ steps: [byToken], container: theirs, use: [mail('ours')] }, 's')).toEqual({ name: 'ours' });
  });

  it('may be anything with isRegistered and resolve, and may know the token itself', async () => {
    const theirs = { isRegistered: (asked: unknown) => asked === Mailer, resolve: <T>() => ({ name: 'module ref' }) as T };
    expect(await run({ steps: [byToken], container: theirs }, 's')).toEqual({ name: 'module ref' });
  });

  it('gives what the constructor types of a class ask for, and wins over tsyringe global registrations', async () => {
    const theirs = tsyringe.createChildContainer();
    class BigWarehouse extends Warehouse {}
    theirs.register(Warehouse, { useClass: BigWarehouse });
    const stepping = await started({ container: theirs });
    expect(stepping.resolve(Sms).warehouse).toBeInstanceOf(BigWarehouse);
  });

  it('keeps its say over how long its services live', async () => {
    const theirs = tsyringe.createChildContainer();
    theirs.register(Warehouse, { useClass: Warehouse });
    const stepping = await started({ container: theirs });
    expect(stepping.resolve(Warehouse)).not.toBe(stepping.resolve(Warehouse));
  });
});

describe('Classes of tsyringe', () => {
  it('are built by their constructor types, once in an app', async () => {
    const stepping = await started({});
    expect(stepping.resolve(Sms).warehouse).toBeInstanceOf(Warehouse);
    expect(stepping.resolve(Sms)).toBe(stepping.resolve(Sms));
    expect((await started({})).resolve(Sms)).not.toBe(stepping.resolve(Sms));
  });

  it('that are singletons are shared by all apps', async () => {
    expect((await started({})).resolve(Shared)).toBe((await started({})).resolve(Shared));
  });

  it('get what @inject names, from our tokens too', async () => {
    @injectable()
    class Letter {
      constructor(
        @inject(Mailer.key) readonly mailer: Mailer,
        @inject(Text) readonly text: string,
      ) {}
    }
    const theirs = tsyringe.createChildContainer();
    theirs.register(Text, { useValue: 'dear' });
    const letter = (await started({ container: theirs, use: [mail('ours')] })).resolve(Letter);
    expect([letter.mailer.name, letter.text]).toEqual(['ours', 'dear']);
  });
});

describe('A class step', () => {
  it('gets what inject lists', async () => {
    @step({ name: 's', inject: [Mailer, Warehouse] })
    class SendSms {
      constructor(
        readonly mailer: Mailer,
        readonly warehouse: Warehouse,
      ) {}
      run({ gid }: StepContext): void {
        seen.push([this.mailer.name, this.warehouse.reserve(), gid]);
      }
    }
    expect(await run({ steps: [SendSms], use: [mail('ours')] }, 's')).toEqual(['ours', 'reserved', 'g']);
  });

  it('gets what its constructor types say, also without @injectable', async () => {
    @step({ name: 's' })
    class SendSms {
      constructor(readonly sms: Sms) {}
      run(): void {
        seen.push(this.sms.warehouse.reserve());
      }
    }
    expect(await run({ steps: [SendSms] }, 's')).toBe('reserved');
  });

  it('may be made by the user, or registered in the application’s container', async () => {
    class SendSms {
      readonly by: string;
      constructor(by: string) {
        this.by = by;
      }
      run(): void {
        seen.push(this.by);
      }
    }
    step({ name: 's' })(SendSms);
    expect(await run({ steps: [SendSms], use: [provide(SendSms, () => new SendSms('provide'))] }, 's')).toBe('provide');
    const theirs = tsyringe.createChildContainer();
    theirs.register(SendSms, { useValue: new SendSms('container') });
    expect(await run({ steps: [SendSms], container: theirs }, 's')).toBe('container');
  });

  it('without inject, where the compiler emitted no types, is refused at start() with the remedy', async () => {
    class SendSms {
      readonly mailer: Mailer;
      constructor(mailer: Mailer) {
        this.mailer = mailer;
      }
      run(): void {}
    }
    step({ name: 's' })(SendSms);
    const error = await errorOf(() => started({ steps: [SendSms], use: [mail('')] }));
    expect(error.code).toBe('DEPENDENCY_MISSING');
    expect(error.message).toMatch(/Step s .*SendSms takes 1 parameter.*inject: \[…\].*provide\(SendSms/);
  });

  it('that asks for an interface, of which nothing is left, is refused at start()', async () => {
    @step({ name: 's' })
    class Draw {
      constructor(
        readonly warehouse: Warehouse,
        readonly shape: Shape,
      ) {}
      run(): void {}
    }
    const error = await errorOf(() => started({ steps: [Draw] }));
    expect(error.code).toBe('DEPENDENCY_MISSING');
    expect(error.message).toMatch(/Parameter 2 of the constructor of Draw.*interface/);
  });

  it('names the class that asks, when something is missing deeper down', async () => {
    @injectable()
    class Letter {
      constructor(@inject(Mailer.key) readonly mailer: Mailer) {}
    }
    @step({ name: 's' })
    class Send {
      constructor(readonly letter: Letter) {}
      run(): void {}
    }
    const error = await errorOf(() => started({ steps: [Send] }));
    expect(error.code).toBe('DEPENDENCY_MISSING');
    expect(error.message).toMatch(/Step s .*Nothing provides Mailer, which the constructor of Letter asks for/);
  });

  it('names the missing dependency of its inject', async () => {
    @step({ name: 's', inject: [Warehouse, Mailer] })
    class Send {
      constructor(
        readonly warehouse: Warehouse,
        readonly mailer: Mailer,
      ) {}
      run(): void {}
    }
    const error = await errorOf(() => started({ steps: [Send] }));
    expect(error.code).toBe('DEPENDENCY_MISSING');
    expect(error.message).toMatch(/Step s asks for inject\[1\] \(Mailer\)/);
  });

  it('without run is refused, and execute is named', async () => {
    class Executes {
      execute(): void {}
    }
    step({ name: 's' })(Executes as never);
    const error = await errorOf(() => started({ steps: [Executes as never] }));
    expect(error.code).toBe('CONFIG_INVALID');
    expect(error.message).toContain('Rename execute to run');
  });
});
