import { Writable } from 'node:stream';
import { completeLogger, type Logger } from '@stepping/core';
import pino from 'pino';

function pinoLines(): { logger: Logger; lines: Record<string, unknown>[] } {
  const lines: Record<string, unknown>[] = [];
  const sink = new Writable({
    write(chunk, _, done) {
      lines.push(JSON.parse(String(chunk)));
      done();
    },
  });
  return { logger: pino({ level: 'trace', base: null }, sink), lines };
}

it('pino keeps the fields of every call and of every child, although it wants them first', () => {
  const { logger, lines } = pinoLines();
  const complete = completeLogger(logger);
  complete.warn('step failed', { attempt: 2 });
  complete.info('started');
  completeLogger(complete.child({ gid: 'g' }))
    .child({ step: 's' })
    .trace('deep', { a: 1 });
  expect(lines).toMatchObject([
    { level: 40, msg: 'step failed', attempt: 2 },
    { level: 30, msg: 'started' },
    { level: 10, msg: 'deep', gid: 'g', step: 's', a: 1 },
  ]);
});

it('pino prints an error among the fields with its stack', () => {
  const { logger, lines } = pinoLines();
  completeLogger(logger).error('broke', { gid: 'g', error: new TypeError('why') });
  expect(lines).toMatchObject([
    { level: 50, msg: 'broke', gid: 'g', err: { type: 'TypeError', message: 'why', stack: expect.stringContaining('logger.test') } },
  ]);
});

it('console gets the fields of its children with every call, though it has no child', () => {
  const calls: string[] = [];
  // Of the real class, so that what it does with two arguments is what happens here.
  const stdout = new Writable({
    write(chunk, _, done) {
      calls.push(String(chunk));
      done();
    },
  });
  const real = new console.Console({ stdout, stderr: stdout, colorMode: false });
  const complete = completeLogger(real);
  complete.child({ gid: 'g' }).info('started', { attempt: 1 });
  complete.warn('plain');
  expect(calls).toEqual(["started { gid: 'g', attempt: 1 }\n", 'plain\n']);
});

it('a logger that throws breaks nothing', () => {
  const broken = () => {
    throw new Error('disk full');
  };
  const logger = completeLogger({ trace: broken, debug: broken, info: broken, warn: broken, error: broken });
  expect(() => logger.child({ a: 1 }).error('x', { b: 2 })).not.toThrow();
});
