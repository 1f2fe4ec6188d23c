import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compilers } from './compilers.js';
import { installPackages } from './published.js';

/** A compiler and a process for each program, on a busy machine. */
const SLOW_MS = 120_000;

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'stepping-compilers-'));
  await installPackages(directory);
}, SLOW_MS);
afterAll(() => rm(directory, { recursive: true }));

const RUNS = { printed: 'sent to me' };
const REFUSED = { printed: 'start() refuses: DEPENDENCY_MISSING' };
const SYNTAX_ERROR = { refused: expect.stringContaining('SyntaxError') };

describe('a class step with @step({ name, inject }), compiled by', () => {
  it.each([
    ['tsc, legacy decorators', RUNS],
    ['tsc, TC39 decorators', RUNS],
    ['swc, legacy decorators', RUNS],
    ['swc, TC39 decorators', RUNS],
    ['esbuild', RUNS],
    ['esbuild, legacy decorators', RUNS],
    ['tsx', RUNS],
    ['Node type stripping', SYNTAX_ERROR],
  ])(
    '%s',
    async (compiler, outcome) => {
      const classStep = `@step({ name: 'order.sms', args: unchecked<{ to: string }>(), inject: [Sms] })\n${SEND_SMS}`;
      expect(await compileAndRun(compiler, 'decorated', classStep)).toEqual(outcome);
    },
    SLOW_MS,
  );
});

describe('a class step whose constructor types alone say what it takes, compiled by', () => {
  it.each([
    ['tsc, legacy decorators', RUNS],
    ['tsc, TC39 decorators', REFUSED],
    ['swc, legacy decorators', RUNS],
    ['swc, TC39 decorators', REFUSED],
    ['esbuild', REFUSED],
    ['esbuild, legacy decorators', REFUSED],
    ['tsx', REFUSED],
    ['Node type stripping', SYNTAX_ERROR],
  ])(
    '%s',
    async (compiler, outcome) => {
      const classStep = `@step({ name: 'order.sms', args: unchecked<{ to: string }>() })\n${SEND_SMS}`;
      expect(await compileAndRun(compiler, 'by-types', classStep)).toEqual(outcome);
    },
    SLOW_MS,
  );
});

describe('a class step by a plain call, step({ name, inject })(Class), compiled by', () => {
  it.each(Object.keys(compilers))(
    '%s',
    async (compiler) => {
      const classStep = `${SEND_SMS}\nstep({ name: 'order.sms', args: unchecked<{ to: string }>(), inject: [Sms] })(SendSms);`;
      expect(await compileAndRun(compiler, 'called', classStep)).toEqual(RUNS);
    },
    SLOW_MS,
  );
});

async function compileAndRun(compiler: string, form: string, classStep: string) {
  const name = `${form}-${compiler.replace(/\W+/g, '-')}`;
  await writeFile(join(directory, `${name}.ts`), program(classStep));
  return compilers[compiler]?.(directory, name);
}

const SEND_SMS = `class SendSms {
  readonly sms: Sms;
  constructor(sms: Sms) { this.sms = sms; }
  run({ args }: StepContext<{ to: string }>) { this.sms.send(args.to); }
}`;

// Types that can be erased and nothing else, so that Node itself can run it.
const program = (classStep: string) => `
import { createStepping, provide, step, type StepContext, SteppingError, unchecked } from '@stepping/core';
import { localTm, memoryStore } from '@stepping/tm-local';
import { hostedProcessor } from '@stepping/tm-local-hosted-processor';

class Sms {
  readonly prefix: string;
  constructor(prefix: string) { this.prefix = prefix; }
  send(to: string) { console.log(this.prefix + to); }
}

${classStep}

const stepping = createStepping({
  steps: [SendSms],
  tm: localTm({ store: memoryStore(), processor: hostedProcessor() }),
  use: [provide(Sms, () => new Sms('sent to '))],
});
try {
  await stepping.start();
} catch (error) {
  if (!SteppingError.is(error)) throw error;
  console.log('start() refuses: ' + error.code);
  process.exit();
}
const { gid } = await stepping.createJob().addStep(SendSms, { to: 'me' }).start();
await stepping.jobs.wait(gid, { timeoutMs: 50_000 });
await stepping.stop();
`;
