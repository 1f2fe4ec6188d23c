import { callSupervisor, startSupervisor } from '../../../../test/services/supervisor-process.mjs';

/** The servers that tests run against, from where tests have them: `STEPPING_TEST_POSTGRES_URL` and the like, the PATH, npm. They end with this process, however it ends. */
export interface TestServices {
  /** Undefined, and said loudly, where the server cannot be had. */
  open(name: 'postgres' | 'mariadb' | 'mongodb'): Promise<TestServer | undefined>;
  stop(): Promise<void>;
}

export interface TestServer {
  createDatabase(label: string): Promise<string>;
  dropAll(): Promise<void>;
}

export async function startTestServices(): Promise<TestServices> {
  const { stop } = await startSupervisor();
  return {
    stop,
    async open(name) {
      const { available, hint } = await callSupervisor('service', { name, testPath: 'bench' });
      if (!available) {
        console.error(`*** ${name} is missing: its measurements are SKIPPED. ${hint}`);
        return undefined;
      }
      const testPath = `bench-${name}`;
      return {
        createDatabase: async (label) => (await callSupervisor('database', { service: name, label, testPath })).url,
        dropAll: () => callSupervisor('file-done', { testPath, failed: false }),
      };
    },
  };
}
