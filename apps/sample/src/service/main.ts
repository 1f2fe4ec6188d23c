import { nodeHandler } from '@stepping/core';
import { fastify, LogController } from 'fastify';
import { CALLBACK_PATH, config } from './config.js';
import { closeDatabases, openDatabases } from './databases.js';
import { jobRoutes } from './jobs.js';
import { orderRoutes } from './orders.js';
import { logSteps } from './step-log.js';
import { wireStepping } from './stepping.js';

const app = fastify({ logger: { level: config.logLevel }, logController: new LogController({ disableRequestLogging: true }) });
const stepping = wireStepping(app.log);

app.get('/health', async () => ({ role: config.role }));
callbackRoute(nodeHandler(stepping));
jobRoutes(app, stepping);
if (config.role !== 'worker') orderRoutes(app, stepping);
if (config.stepLog !== undefined) logSteps(stepping, config.stepLog);

for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void shutDown(signal));

try {
  await openDatabases();
  await stepping.start();
  await app.listen(config.listen);
} catch (error) {
  app.log.fatal(error, 'the order service could not start');
  await shutDown('failed start', 1);
}

/** Mounted whatever the transaction manager: one that never calls back answers 404. */
function callbackRoute(handler: ReturnType<typeof nodeHandler>): void {
  app.route({
    method: ['GET', 'POST'],
    url: CALLBACK_PATH,
    // Before Fastify reads the body, whose signature is to be checked.
    onRequest(request, reply) {
      reply.hijack();
      handler(request.raw, reply.raw);
    },
    handler: () => {},
  });
}

/** Takes no more requests, lets those that are open end, then the running steps. */
async function shutDown(reason: string, exitCode = 0): Promise<void> {
  app.log.info(`stopping: ${reason}`);
  process.exitCode = exitCode;
  // A connection whose request is answered after this would be kept alive, and `close` wait for it for a minute.
  const idle = setInterval(() => app.server.closeIdleConnections(), 100);
  await app.close();
  clearInterval(idle);
  await stepping.stop();
  await closeDatabases();
  app.log.info('stopped');
}
