import { swcOptions } from './test/swc.mjs';

/** Tests run on the sources of every package: no build comes first, and there is one copy of each class. */
export default {
  rootDir: import.meta.dirname,
  roots: ['<rootDir>/packages', '<rootDir>/apps', '<rootDir>/test'],
  testMatch: ['<rootDir>/{packages,apps}/*/{src,test}/**/*.test.ts', '<rootDir>/test/**/*.test.ts'],
  testEnvironment: '<rootDir>/test/environment.mjs',
  globalSetup: '<rootDir>/test/global-setup.mjs',
  globalTeardown: '<rootDir>/test/global-teardown.mjs',
  extensionsToTreatAsEsm: ['.ts'],
  moduleFileExtensions: ['js', 'ts', 'mjs', 'cjs', 'json', 'node'],
  transform: { '\\.ts$': ['@swc/jest', swcOptions] },
  moduleNameMapper: {
    '^@stepping/test-services$': '<rootDir>/test/services/index.ts',
    '^@stepping/([^/]+)$': '<rootDir>/packages/$1/src/index.ts',
    '^@stepping/([^/]+)/(.+)$': ['<rootDir>/packages/$1/src/$2/index.ts', '<rootDir>/packages/$1/src/$2.ts'],
    '^(\\.{1,2}/.*)\\.js$': '$1',
  },
  // Two cores are what CI has; and a third of all time is waiting: for a lease to end, for DTM to come again.
  maxWorkers: 3,
  // Those of a file that may run side by side (`it.concurrent`): they wait for a server most of the time.
  maxConcurrency: 16,
  // Real databases on a busy machine: long enough not to fail by slowness, short enough to see a hang.
  testTimeout: 60_000,
};
