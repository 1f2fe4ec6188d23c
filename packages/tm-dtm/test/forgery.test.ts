import { afterEach, describe, expect, it } from '@jest/globals';
import { defineStep, unchecked } from '@stepping/core';
import fc from 'fast-check';
import { property } from '../../../test/properties.js';
import { anEndpoint, LEDGER_REF, stopApps, type TestEndpoint, until } from './support/an-endpoint.js';
import { aStepMessage, type CallbackParts, questionCallback, SECRET, stepCallback, toRequest } from './support/callbacks.js';

afterEach(stopApps);

const OLD_SECRET = 'the one before';
/** Callbacks that are changed in all ways that one can think of, and some that one cannot. */
const MUTATIONS = 10_000;

const mail = (gid: string, position: number) =>
  stepCallback(aStepMessage({ gid, position, of: 3, args: `{"to":"${gid}@example.org"}`, ledger: LEDGER_REF }));

/** An app with a step that remembers for whom it ran, and a database that says of everything that it committed. */
async function anApp(
  secrets: readonly string[] = [SECRET],
): Promise<TestEndpoint & { ran: string[]; send(parts: CallbackParts): Promise<number> }> {
  const ran: string[] = [];
  const step = defineStep({
    name: 'charge',
    args: unchecked<{ to: string } | undefined>(),
    run: ({ args, idempotencyKey }) => void ran.push(`${idempotencyKey} ${args?.to}`),
  });
  const app = await anEndpoint({ steps: [step], secrets });
  app.database.answer = async () => 'committed';
  return { ...app, ran, send: async (parts) => (await app.stepping.handle(toRequest(parts))).status };
}

/** Nothing at all came of it. */
function expectUntouched(app: TestEndpoint & { ran: string[] }): void {
  expect(app.ran).toEqual([]);
  expect(app.told).toEqual([]);
  expect(app.database.questions).toBe(0);
}

describe('A callback that is not genuine', () => {
  it('without a signature is refused, and runs nothing', async () => {
    const app = await anApp();
    expect(await app.send({ ...mail('a', 0), signature: '' })).toBe(403);
    const url = new URL(toRequest(mail('a', 0)).url);
    url.searchParams.delete('s');
    expect((await app.stepping.handle(new Request(url, { method: 'POST', body: mail('a', 0).text }))).status).toBe(403);
    expect(await app.send({ ...questionCallback({ db: LEDGER_REF }), signature: '' })).toBe(403);
    expect(await app.send({ ...mail('a', 0), kind: 'self-test', signature: '' })).toBe(403);
    expectUntouched(app);
  });

  it('signed with another secret is refused, and runs nothing', async () => {
    const app = await anApp();
    expect(await app.send(stepCallback(aStepMessage(), 'guessed'))).toBe(403);
    expect(await app.send(questionCallback({ db: LEDGER_REF }, 'guessed'))).toBe(403);
    expectUntouched(app);
  });

  it('with the signature of another job, step, attempt to redrive, or kind is refused, and runs nothing', async () => {
    const app = await anApp();
    const genuine = mail('a', 0);
    const redriven = stepCallback(aStepMessage({ gid: 'a', position: 0, of: 3, generation: 1 }));
    for (const { signature } of [mail('b', 0), mail('a', 1), redriven, questionCallback({ gid: 'a' })]) {
      expect(await app.send({ ...genuine, signature })).toBe(403);
    }
    expect(await app.send({ ...mail('b', 0), text: genuine.text })).toBe(403);
    expect(await app.send({ ...genuine, wireGid: mail('b', 0).wireGid })).toBe(403);
    expect(await app.send({ ...questionCallback({ gid: 'a', db: LEDGER_REF }), signature: genuine.signature })).toBe(403);
    expectUntouched(app);
  });

  it('is logged without its signature, and not once for each', async () => {
    const app = await anApp();
    const forged = { ...mail('a', 0), signature: mail('b', 0).signature };
    for (let i = 0; i < 50; i++) await app.send(forged);
    expect(app.log).toHaveLength(1);
    expect(JSON.stringify(app.log)).not.toContain(forged.signature);
  });

  it(`changed in any way runs nothing (${MUTATIONS} changes)`, async () => {
    const app = await anApp();
    const genuine = [
      mail('a', 0),
      mail('a', 1),
      mail('b', 0),
      questionCallback({ gid: 'c', db: LEDGER_REF }),
      questionCallback({ gid: 'd' }),
    ];
    const isGenuine = (parts: CallbackParts) => genuine.some((one) => sameContent(one, parts));
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...genuine),
        fc.array(aMutation(genuine), { minLength: 1, maxLength: 3 }),
        async (original, mutations) => {
          const mutated = mutations.reduce((parts, mutate) => mutate(parts), original);
          if (isGenuine(mutated)) return;
          const status = await app.send(mutated);
          // Plain comparisons, as there are so many.
          if (![400, 403, 404, 405].includes(status)) throw new Error(`It was answered ${status}`);
          if (app.ran.length + app.told.length + app.database.questions > 0) throw new Error('It was taken for a genuine one');
          refused++;
        },
      ),
      property(MUTATIONS),
    );
    // Else it would have looked at nothing; some changes undo each other.
    expect(refused).toBeGreaterThan(MUTATIONS * 0.9);
    // And what was changed is worth it.
    for (const one of genuine) expect(await app.send(one)).toBe(200);
    expect(app.ran).toEqual(['a/000 a@example.org', 'a/001 a@example.org', 'b/000 b@example.org']);
  }, 120_000);

  it('as raw text of any kind runs nothing', async () => {
    const app = await anApp();
    const { signature, wireGid } = mail('a', 0);
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('GET', 'POST', 'PUT', 'HEAD'),
        fc.webQueryParameters(),
        fc.string({ unit: 'binary' }),
        async (method, query, body) => {
          for (const url of [
            `http://app.test/?${query}`,
            `http://app.test/?stepping=step&gid=${wireGid}&branch_id=01&op=action&s=${signature}&${query}`,
          ]) {
            const bodyless = method === 'GET' || method === 'HEAD';
            const response = await app.stepping.handle(new Request(url, bodyless ? { method } : { method, body }));
            expect(response.body).toBeNull();
            expect(response.status).toBeGreaterThanOrEqual(400);
          }
          expectUntouched(app);
        },
      ),
      property(100),
    );
  });
});

describe('A genuine callback', () => {
  it('that is captured and sent again runs nothing, as its step is done', async () => {
    const app = await anApp();
    const captured = mail('a', 0);
    for (let i = 0; i < 5; i++) expect(await app.send(captured)).toBe(200);
    expect(app.ran).toHaveLength(1);
  });

  it('is known by its content: DTM may add parameters, reorder them, and reach another path and host', async () => {
    const app = await anApp();
    const { wireGid, branchId, signature, text } = mail('a', 0);
    const url = `http://10.0.0.7:8080/elsewhere/?op=action&branch_id=${branchId}&x=1&gid=${wireGid}&s=${signature}&trans_type=msg&stepping=step&y=2`;
    expect((await app.stepping.handle(new Request(url, { method: 'POST', body: text }))).status).toBe(200);
    expect(app.ran).toHaveLength(1);
  });

  it('signed with a secret that was replaced is good for as long as that is listed, behind the new one', async () => {
    const underway = stepCallback(aStepMessage({ gid: 'old', ledger: LEDGER_REF }), OLD_SECRET);
    const rotating = await anApp([SECRET, OLD_SECRET]);
    expect(await rotating.send(mail('a', 0))).toBe(200);
    expect(await rotating.send(underway)).toBe(200);
    const rotated = await anApp([SECRET]);
    expect(await rotated.send(underway)).toBe(403);
    expect(rotated.ran).toEqual([]);
  });

  it('of the self-test is answered and runs nothing', async () => {
    const app = await anApp();
    const parts = { ...mail('a', 0), kind: 'self-test' };
    expect(await app.send(parts)).toBe(200);
    expect(app.told).toEqual([]);
    expect(app.ran).toEqual([]);
  });

  it('larger than any payload of ours is refused before it is read to its end', async () => {
    const app = await anApp();
    let sent = 0;
    const endless = new ReadableStream({
      pull(controller) {
        sent += 65_536;
        controller.enqueue(new Uint8Array(65_536));
      },
    });
    const { url } = toRequest(mail('a', 0));
    const request = new Request(url, { method: 'POST', body: endless, duplex: 'half' } as RequestInit);
    expect((await app.stepping.handle(request)).status).toBe(413);
    expect(sent).toBeLessThan(10 * 1_024 * 1_024);
    expectUntouched(app);
  });

  it('is needed by nobody who was told to believe everybody (insecure)', async () => {
    const app = await anApp([]);
    expect(await app.send({ ...mail('a', 0), signature: 'anything' })).toBe(200);
    await until(() => app.ran.length === 1);
  });
});

type Mutation = (parts: CallbackParts) => CallbackParts;

function aMutation(genuine: readonly CallbackParts[]): fc.Arbitrary<Mutation> {
  const field = fc.constantFrom<keyof CallbackParts>('kind', 'wireGid', 'branchId', 'op', 'text', 'signature');
  const inText = fc.tuple(field, fc.nat(), fc.constantFrom('flip', 'drop', 'double', 'cut', 'swap case')).map(
    ([name, at, how]): Mutation =>
      (parts) => ({ ...parts, [name]: changed(parts[name], at, how) }),
  );
  const fromAnother = fc.tuple(field, fc.constantFrom(...genuine)).map(
    ([name, other]): Mutation =>
      (parts) => ({ ...parts, [name]: other[name] }),
  );
  const anything = fc
    .tuple(field, fc.oneof(fc.string(), fc.base64String(), fc.uuid(), fc.constantFrom('', '00', '01', 'action', 'msg', 'step', 'question')))
    .map(
      ([name, value]): Mutation =>
        (parts) => ({ ...parts, [name]: value }),
    );
  const inMessage = fc
    .tuple(
      fc.constantFrom('gid', 'instance', 'position', 'of', 'generation', 'step', 'args', 'tenant', 'db', 'ledger', 'v'),
      fc.jsonValue(),
    )
    .map(
      ([key, value]): Mutation =>
        (parts) => ({ ...parts, text: withKey(parts, key, value) }),
    );
  const method = fc.constantFrom('GET', 'POST', 'PUT', 'DELETE').map(
    (name): Mutation =>
      (parts) => ({ ...parts, method: name }),
  );
  const signature = fc.constantFrom<Mutation>(
    (parts) => ({ ...parts, signature: `${parts.signature}=` }),
    (parts) => ({ ...parts, signature: `${parts.signature}A` }),
    (parts) => ({ ...parts, signature: Buffer.from(parts.signature, 'base64url').toString('base64') }),
    (parts) => ({ ...parts, signature: Buffer.from(parts.signature, 'base64url').toString('hex') }),
    (parts) => ({ ...parts, signature: stepCallback(aStepMessage(), '').signature }),
  );
  return fc.oneof(
    { weight: 4, arbitrary: inText },
    { weight: 2, arbitrary: fromAnother },
    anything,
    { weight: 2, arbitrary: inMessage },
    method,
    signature,
  );
}

function changed(text: string, where: number, how: string): string {
  const at = text.length === 0 ? 0 : where % text.length;
  const char = text[at] ?? 'x';
  switch (how) {
    case 'flip':
      return `${text.slice(0, at)}${String.fromCharCode(char.charCodeAt(0) ^ 1)}${text.slice(at + 1)}`;
    case 'drop':
      return `${text.slice(0, at)}${text.slice(at + 1)}`;
    case 'double':
      return `${text.slice(0, at)}${char}${text.slice(at)}`;
    case 'cut':
      return text.slice(0, at);
    default:
      return `${text.slice(0, at)}${char === char.toLowerCase() ? char.toUpperCase() : char.toLowerCase()}${text.slice(at + 1)}`;
  }
}

/** A message or question with one value replaced, as somebody would write it who knows the format. */
function withKey({ kind, text }: CallbackParts, key: string, value: unknown): string {
  try {
    if (kind === 'question') {
      const question = JSON.parse(Buffer.from(text, 'base64url').toString());
      return Buffer.from(JSON.stringify({ ...question, [key]: value })).toString('base64url');
    }
    return JSON.stringify({ ...JSON.parse(text), [key]: value });
  } catch {
    return `${text}${key}`;
  }
}

/** Whether they say the same: a GET carries its text in the URL, so a body that was changed away with the method is none. */
function sameContent(a: CallbackParts, b: CallbackParts): boolean {
  const fields = ['method', 'kind', 'wireGid', 'branchId', 'op', 'text', 'signature'] as const;
  return fields.every((name) => a[name] === b[name]);
}
