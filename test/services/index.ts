import { describe, expect, it } from '@jest/globals';
import { callSupervisor } from './supervisor-process.mjs';

export { freePort } from './local-server.mjs';

/** A real server that tests run against; see `supervisor.mjs` for where it comes from. */
export interface TestService {
  readonly name: string;
  /** False only outside CI: with `CI=true` a missing service is an error, but for MySQL, which comes by its URL alone. */
  readonly available: boolean;
  /** `describe`, or a skipped one that names what is missing. */
  describe(title: string, body: () => void): void;
  /**
   * Creates an empty database for this test file and returns its URL. Dropped when the file is done, kept if one of its tests failed.
   * DTM has no databases: the URL of its server, which all test files share.
   */
  database(label?: string): Promise<string>;
  /** Kills the server and starts it again on the same port and data: only for a service that no other test file has (`postgres-own`, `mariadb-own`, `mongodb-own`). */
  restart(): Promise<void>;
}

export type ServiceName =
  | 'postgres'
  | 'postgres-own'
  | 'mariadb'
  | 'mariadb-own'
  | 'mysql'
  | 'mongodb'
  | 'mongodb-standalone'
  | 'mongodb-own'
  | 'dtm'
  | 'dtm-own';

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

/** A DTM server of a test's own. It ends with the test file, or with {@link kill}. */
export interface DtmServerProcess {
  readonly url: string;
  /** As the server says it, `v1.18.0`. */
  readonly version: string;
  /** Where its data is: the server's working directory. */
  readonly directory: string;
  /** Kills it, as `kill -9` does, and waits until it is gone. */
  kill(): Promise<void>;
  /** Kills it, if it runs, and starts it again on the same ports and data. Resolves when it answers. */
  restart(): Promise<void>;
}

/**
 * Starts a DTM server on free ports and in an empty directory, with boltdb and a poll each second. Where there may be none, inside
 * `const dtm = await testService('dtm-own'); dtm.describe(…)`.
 *
 * @param options `directory`: where its data is to be, or is since an earlier server that is dead by now. `env`: settings of the server,
 *   `{ RETRY_INTERVAL: '15' }`.
 */
export async function startDtm(options: { directory?: string; env?: Readonly<Record<string, string>> } = {}): Promise<DtmServerProcess> {
  const which = { service: 'dtm-own', testPath: expect.getState().testPath };
  const { number, ...started } = await callSupervisor('start-server', { ...which, ...options });
  return {
    ...started,
    kill: () => callSupervisor('kill-server', { ...which, number }),
    restart: () => callSupervisor('restart-server', { ...which, number }),
  };
}

/** The arguments with which `node` runs a TypeScript file from the sources of this workspace, for tests that kill a child process. */
export function nodeArgsFor(script: string): string[] {
  return ['--import', new URL('../register.mjs', import.meta.url).href, script];
}
