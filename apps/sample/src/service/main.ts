import { fastify, LogController } from 'fastify';
import { config } from './config.js';
import { closeDatabases, openDatabases } from './databases.js';
import { orderRoutes } from './orders.js';
import { logSteps } from './step-log.js';
import { wireStepping } from './stepping.js';

const app = fastify({ logger: { level: config.logLevel }, logController: new LogController({ disableRequestLogging: true }) });
const stepping = wireStepping(app.log);

app.get('/health', async () => ({ role: config.role, jobs: await stepping.jobs.stats() }));
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

/** Takes no more requests, lets those that are open end, then the running steps. */
async function shutDown(reason: string, exitCode = 0): Promise<void> {
  app.log.info(`stopping: ${reason}`);
  process.exitCode = exitCode;
  await app.close();
  await stepping.stop();
  await closeDatabases();
  app.log.info('stopped');
}
