import { afterEach, expect, it } from '@jest/globals';
import { createStepping, defineStep, permanent, type Stepping, SteppingError, type SteppingErrorCode, unchecked } from '@stepping/core';
import { localTm } from '@stepping/tm-local';
import { hostedProcessor } from '@stepping/tm-local-hosted-processor';
import { typeormStore } from '@stepping/tm-local-typeorm';
import fc from 'fast-check';
import type { DataSource } from 'typeorm';
import { property } from '../../../test/properties.js';
import { mysqls, postgres, sqlite } from './support/databases.js';

/** What databases, drivers and people stumble over. */
const HOSTILE = [
  'null',
  'NULL',
  'undefined',
  '\u0000',
  'a\u0000b',
  '\ud800',
  'a\udfffb',
  '\u{1f4a9}',
  '__proto__',
  'constructor',
  '{}',
  '{a,"b"}',
  '\\',
  '\\x00',
  '"',
  "'; drop table stepping_job; --",
  '$1',
  ':gid',
  '?',
  '%',
  '_',
  ' ',
  ' a ',
  'a ',
  'A',
  'a',
  'ä',
  'a\u0308',
  'ß',
  'ss',
  'İ',
  '\n',
  '\t',
  '\u2028',
  '~db/memory/orders',
  'x'.repeat(200),
  'x'.repeat(5_000),
];
const text = fc.oneof(
  fc.constantFrom(...HOSTILE),
  fc.string({ unit: 'binary' }),
  fc.string({ unit: 'grapheme' }),
  fc.array(fc.integer({ min: 0, max: 0xffff })).map((units) => String.fromCharCode(...units)),
);
const json = fc.jsonValue({ maxDepth: 4, stringUnit: 'binary' });
const args = fc.oneof(
  { weight: 4, arbitrary: json },
  { weight: 1, arbitrary: text },
  { weight: 1, arbitrary: fc.dictionary(text, json) },
  {
    weight: 1,
    arbitrary: fc.anything({ withBigInt: true, withDate: true, withMap: true, withSparseArray: true, withNullPrototype: true }),
  },
);

const job = fc.record({
  gid: fc.option(fc.oneof(text, fc.stringMatching(/^[A-Za-z0-9_-]{1,128}$/))),
  tenant: fc.option(text),
  args,
  step: fc.nat(99),
  /** With this message; null: it succeeds. */
  fails: fc.option(text),
});

interface Seen {
  readonly gid: string;
  readonly tenant: string | undefined;
  readonly args: unknown;
}

const REFUSALS: readonly SteppingErrorCode[] = ['GID_INVALID', 'CONFIG_INVALID', 'ARGS_NOT_JSON', 'ARGS_TOO_LARGE'];
const opened: { stepping: Stepping; dataSource: DataSource }[] = [];

afterEach(async () => {
  for (const { stepping, dataSource } of opened.splice(0)) {
    await stepping.stop({ drainTimeoutMs: 0 });
    await dataSource.destroy();
  }
});

for (const database of [sqlite, postgres, ...mysqls]) {
  database.describe(`on ${database.name}, whatever text it is`, () => {
    it('a gid, a tenant, args and an error come out as they went in, or are refused before anything is written', async () => {
      const dataSource = await database.open();
      const next: { seen: (seen: Seen) => void; error: Error | undefined }[] = [];
      const steps = HOSTILE.filter(isName).map((name) =>
        defineStep({
          name,
          queue: name.startsWith('~') ? undefined : name,
          args: unchecked<any>(),
          async run({ gid, tenant, args }) {
            const { seen, error } = next.shift() ?? { seen() {}, error: undefined };
            seen({ gid, tenant, args });
            if (error) throw error;
          },
        }),
      );
      const stepping = createStepping({
        steps,
        tm: localTm({ store: typeormStore({ dataSource }), processor: hostedProcessor({ maxPollMs: 50, concurrency: 1 }) }),
        logger: silent,
      });
      await stepping.start();
      opened.push({ stepping, dataSource });
      const count = async () => {
        const { succeeded, failed, submitted } = await stepping.jobs.stats();
        return succeeded + failed + submitted;
      };

      await fc.assert(
        fc.asyncProperty(job, async ({ gid, tenant, args, step: i, fails }) => {
          const step = steps[i % steps.length] as (typeof steps)[0];
          const before = await count();
          const { promise, resolve } = Promise.withResolvers<Seen>();
          const error = fails === null ? undefined : permanent(fails);
          next.push({ seen: resolve, error });
          let started: { gid: string; duplicate: boolean };
          try {
            started = await stepping
              .createJob({ gid: gid ?? undefined, tenant: tenant ?? undefined })
              .addStep(step, args)
              .start();
          } catch (refusal) {
            next.pop();
            expect(refusal).toBeInstanceOf(SteppingError);
            expect(REFUSALS).toContain((refusal as SteppingError).code);
            if ((refusal as SteppingError).code === 'CONFIG_INVALID') expect(isName(tenant ?? 'none')).toBe(false);
            if ((refusal as SteppingError).code === 'GID_INVALID') expect(gid).not.toMatch(/^[A-Za-z0-9_-]{1,128}$/);
            expect(await count()).toBe(before);
            return;
          }
          if (started.duplicate) {
            next.pop();
            return;
          }
          if (gid !== null) expect(started.gid).toBe(gid);
          const stored = args === undefined ? undefined : JSON.parse(JSON.stringify(args));
          const expected = { gid: started.gid, tenant: tenant ?? undefined, args: stored };
          expect(await promise).toEqual(expected);
          const info = await stepping.jobs.wait(started.gid, { timeoutMs: 50_000 });
          expect(info).toMatchObject({ gid: started.gid, status: error ? 'failed' : 'succeeded' });
          expect({ gid: info.gid, tenant: info.tenant, args: info.steps[0]?.args }).toEqual(expected);
          expect(info.steps[0]?.name).toBe(step.name);
          if (error) expect(info.lastError?.message).toBe(error.message.slice(0, 4_096).replaceAll('\u0000', '').toWellFormed());
          if (tenant !== null) {
            const { jobs } = await stepping.jobs.list({ tenant, limit: 1_000 });
            expect(jobs.map((job) => job.gid)).toContain(started.gid);
            expect(new Set(jobs.map((job) => job.tenant))).toEqual(new Set([tenant]));
          }
        }),
        property(150),
      );
    }, 60_000);
  });
}

it('the name of a step and of its queue is taken and found again, or refused before anything is connected', async () => {
  for (const name of HOSTILE) {
    const define = () =>
      createStepping({
        steps: [defineStep({ name, run() {} })],
        tm: localTm({ store: typeormStore({ dataSource: undefined as never }) }),
      });
    if (isName(name)) define();
    else expect(define).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }));
  }
});

/** What a database holds as it is. */
function isName(text: string): boolean {
  return text.length > 0 && text.length <= 200 && text.trim() === text && text.isWellFormed() && !text.includes('\u0000');
}

const silent = { trace() {}, debug() {}, info() {}, warn() {}, error() {} };
