import { readFileSync } from 'node:fs';
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { compile, type Diagnostic, root } from './compile.js';

const programs = join(import.meta.dirname, 'programs');
const wrong = join(programs, 'wrong.ts');

interface WrongProgram {
  id: string;
  what: string;
  code: string;
  phrase: string;
  /** Of its marker; it ends where the next one begins. */
  line: number;
}

const wrongPrograms: WrongProgram[] = readFileSync(wrong, 'utf8')
  .split('\n')
  .flatMap((text, index) => {
    const [, id, what, code, phrase] = /^\/\/ (W\d+) (.*): (TS\d+) `(.*)`$/.exec(text) ?? [];
    return id && what && code && phrase ? [{ id, what, code, phrase, line: index + 1 }] : [];
  });

let diagnostics: Diagnostic[];
// One run for all programs: starting the compiler and reading the libraries is what takes long.
beforeAll(async () => {
  ({ diagnostics } = await compile([wrong, join(programs, 'right.ts'), join(programs, 'accepted.ts')]));
}, 120_000);

const of = (file: string) => diagnostics.filter((diagnostic) => diagnostic.file === relative(root, join(programs, file)));

describe('the compiler refuses', () => {
  it.each(wrongPrograms)('$id $what', ({ id, code, phrase }) => {
    const said = of('wrong.ts').filter(({ line }) => programAt(line)?.id === id);
    expect(said).toMatchObject([{ code, text: expect.stringContaining(phrase) }]);
  });

  it('nothing else in that file', () => {
    expect(of('wrong.ts').filter(({ line }) => !programAt(line))).toEqual([]);
    expect(new Set(wrongPrograms.map(({ id }) => id)).size).toBe(wrongPrograms.length);
    expect(wrongPrograms.length).toBeGreaterThan(50);
  });
});

describe('the compiler accepts', () => {
  it('programs that a stricter API would refuse', () => expect(of('right.ts')).toEqual([]));
  it('programs whose slip only shows when they run', () => expect(of('accepted.ts')).toEqual([]));
});

it('the cost of types grows no faster than the number of steps', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'stepping-types-'));
  try {
    await symlink(join(root, 'node_modules'), join(directory, 'node_modules'));
    const [few, some, many] = [
      await instantiations(directory, 0),
      await instantiations(directory, 200),
      await instantiations(directory, 400),
    ];
    const perStep = (some - few) / 200;
    expect(perStep).toBeLessThan(1_100);
    expect(many - some).toBeLessThan(1.1 * (some - few));
  } finally {
    await rm(directory, { recursive: true });
  }
}, 120_000);

function programAt(line: number): WrongProgram | undefined {
  return wrongPrograms.findLast((program) => program.line < line);
}

/** How many types the compiler makes for an app of that many steps. */
async function instantiations(directory: string, steps: number): Promise<number> {
  const file = join(directory, `app-${steps}.mts`);
  await writeFile(file, appWith(steps));
  const { diagnostics, output } = await compile([file], ['--extendedDiagnostics']);
  expect(diagnostics.filter((diagnostic) => diagnostic.file.endsWith(`app-${steps}.mts`) || diagnostic.file === '')).toEqual([]);
  return Number(/^Instantiations:\s+(\d+)/m.exec(output)?.[1]);
}

function appWith(steps: number): string {
  const numbers = Array.from({ length: steps }, (_, i) => i);
  return `
import { createStepping, defineStep, type TmPlugin, token } from '@stepping/core';
import { z } from 'zod';
declare const tm: TmPlugin;
const Mailer = token<{ send(to: string): Promise<void> }>('Mailer');
${numbers
  .map(
    (i) => `export const step${i} = defineStep({
  name: 'step.${i}', args: z.object({ id: z.string(), n${i}: z.number() }), inject: { mailer: Mailer },
  async run({ args, deps }) { await deps.mailer.send(args.id + args.n${i}); } });`,
  )
  .join('\n')}
export const stepping = createStepping({ tm, steps: [${numbers.map((i) => `step${i}`).join(', ')}] });
export const job = stepping.createJob();
${numbers.map((i) => `job.addStep(step${i}, { id: 'x', n${i}: ${i} });`).join('\n')}
`;
}
