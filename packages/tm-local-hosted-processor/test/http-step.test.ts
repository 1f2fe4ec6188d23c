import { inspect } from 'node:util';
import { type AnyStep, createStepping, type Logger, type Stepping, type SteppingEvents, unchecked } from '@stepping/core';
import { httpStep } from '@stepping/core/http';
import { localTm, memoryStore } from '@stepping/tm-local';
import { hostedProcessor } from '@stepping/tm-local-hosted-processor';
import { RecordingServer } from '../../core/test/http/recording-server.js';

const WAIT = { timeoutMs: 50_000 };

let server: RecordingServer;
let stepping: Stepping | undefined;
let logged: unknown[];
let failures: SteppingEvents['step.failed'][];

beforeEach(async () => {
  server = await RecordingServer.listen();
  logged = [];
  failures = [];
});
afterEach(async () => {
  await stepping?.stop({ drainTimeoutMs: 0 });
  await server[Symbol.asyncDispose]();
});

/** A started app that writes down all that it logs and tells. */
async function app(steps: readonly AnyStep[]): Promise<Stepping> {
  const write = (...entry: unknown[]) => void logged.push(entry);
  const logger: Logger = { trace: write, debug: write, info: write, warn: write, error: write };
  stepping = createStepping({ steps, logger, tm: localTm({ store: memoryStore(), processor: hostedProcessor() }) });
  stepping.on('step.failed', (event) => failures.push(event));
  await stepping.start();
  return stepping;
}

const charge = (more: Partial<Parameters<typeof httpStep>[0]> = {}) =>
  httpStep({
    name: 'charge',
    args: unchecked<{ amount: number }>(),
    retry: { minDelayMs: 1 },
    request: (args) => ({ url: `${server.origin}/charges`, json: args, query: { api_key: 's3cr3t-query' } }),
    headers: () => ({ authorization: 'Bearer s3cr3t-token' }),
    ...(more as object),
  });

it('an HTTP step is tried until the server takes it, under one idempotency key, and leaves no credential behind', async () => {
  const statuses = [500, 401, 201];
  server.answer = ({ headers }, response) =>
    response.writeHead(statuses.shift() ?? 500, { 'content-type': 'text/plain' }).end(`you sent ${headers.authorization}`);
  const { createJob, jobs } = await app([charge()]);
  const { gid } = await createJob({ gid: 'order-7' }).addStep(charge(), { amount: 5 }).start();
  const job = await jobs.wait(gid, WAIT);
  expect(job).toMatchObject({ status: 'succeeded', steps: [{ name: 'charge', args: { amount: 5 } }] });
  expect(server.received.map(({ headers, body }) => [headers['idempotency-key'], headers.authorization, String(body)])).toEqual(
    Array(3).fill(['order-7/000', 'Bearer s3cr3t-token', '{"amount":5}']),
  );
  expect(failures).toHaveLength(2);
  expect(logged.length).toBeGreaterThan(0);
  expect(inspect({ job, logged, failures }, { depth: null, showHidden: true })).not.toContain('s3cr3t');
});

it('an HTTP step that is refused for good fails its job, which says why', async () => {
  server.answers(422, { 'content-type': 'application/json' }, '{"error":"amount is negative"}');
  const { createJob, jobs } = await app([charge()]);
  const { gid } = await createJob().addStep(charge(), { amount: -5 }).start();
  const job = await jobs.wait(gid, WAIT);
  expect(job.status).toBe('failed');
  expect(job.lastError?.message).toContain(`POST ${server.origin}/charges?… answered 422: {"error":"amount is negative"}`);
  expect(server.received).toHaveLength(1);
});

it('an HTTP step comes back when the server asked it to, and not before', async () => {
  let refusedAt = 0;
  let acceptedAt = 0;
  server.answer = (_, response) => {
    if (refusedAt === 0) {
      refusedAt = performance.now();
      response.writeHead(503, { 'retry-after': '1' }).end();
    } else {
      acceptedAt = performance.now();
      response.end();
    }
  };
  const { createJob, jobs } = await app([charge()]);
  const { gid } = await createJob().addStep(charge(), { amount: 5 }).start();
  expect(await jobs.wait(gid, WAIT)).toMatchObject({ status: 'succeeded' });
  expect(acceptedAt - refusedAt).toBeGreaterThan(990);
});

it('an HTTP step whose server stalls is given up at its timeout and tried again', async () => {
  server.answer = (_, response) => void (server.received.length > 1 && response.end());
  const { createJob, jobs } = await app([charge({ timeoutMs: 100 })]);
  const { gid } = await createJob().addStep(charge(), { amount: 5 }).start();
  expect(await jobs.wait(gid, WAIT)).toMatchObject({ status: 'succeeded' });
  expect(failures).toMatchObject([{ attempt: 1, error: { code: 'STEP_TIMEOUT' } }]);
  expect(server.received).toHaveLength(2);
});
