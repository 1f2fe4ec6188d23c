import { describe, expect, it } from '@jest/globals';
import { callSupervisor } from './supervisor-process.mjs';

/** A real server that tests run against; see `supervisor.mjs` for where it comes from. */
export interface TestService {
  readonly name: string;
  /** False only outside CI: with `CI=true` a missing service is an error, but for MySQL, which comes by its URL alone. */
  readonly available: boolean;
  /** `describe`, or a skipped one that names what is missing. */
  describe(title: string, body: () => void): void;
  /** Creates an empty database for this test file and returns its URL. Dropped when the file is done, kept if one of its tests failed. */
  database(label?: string): Promise<string>;
  /** Kills the server and starts it again on the same port and data: only for a service that no other test file has (`mongodb-own`). */
  restart(): Promise<void>;
}

export type ServiceName = 'postgres' | 'mariadb' | 'mysql' | 'mongodb' | 'mongodb-standalone' | 'mongodb-own';

/** Starts the service unless it runs already. Call it at the top of a test file: `const postgres = await testService('postgres');`. */
export async function testService(name: ServiceName): Promise<TestService> {
  const answer: { available: boolean; hint?: string; byUrlOnly?: boolean } = await callSupervisor('service', {
    name,
    testPath: expect.getState().testPath,
  });
  return {
    name,
    available: answer.available,
    describe(title, body) {
      if (answer.available) describe(title, body);
      else if (answer.byUrlOnly) describe(title, () => it.skip(`is not run: ${name} is missing. ${answer.hint}`, () => {}));
      else describe.skip(`${title} (skipped: ${name} is missing. ${answer.hint})`, body);
    },
    async database(label) {
      const created: { url: string } = await callSupervisor('database', { service: name, label, testPath: expect.getState().testPath });
      return created.url;
    },
    async restart() {
      await callSupervisor('restart', { service: name, testPath: expect.getState().testPath });
    },
  };
}

/** An empty PostgreSQL database for this test file; its URL. */
export async function postgresDatabase(label?: string): Promise<string> {
  const postgres = await testService('postgres');
  return postgres.database(label);
}

/** The arguments with which `node` runs a TypeScript file from the sources of this workspace, for tests that kill a child process. */
export function nodeArgsFor(script: string): string[] {
  return ['--import', new URL('../register.mjs', import.meta.url).href, script];
}
