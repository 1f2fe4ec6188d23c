import { afterEach, describe, jest } from '@jest/globals';
import { describeBadSteps } from './bad-steps.js';
import { describeClocks } from './clocks.js';
import type { FaultDatabase } from './databases.js';
import { describeFrozen } from './frozen.js';
import { describeFullDisk } from './full-disk.js';
import { describeNetwork } from './network.js';
import { describeOldTransaction } from './old-transaction.js';
import { describePoison } from './poison.js';
import { describeRaces } from './races.js';
import { describeRestarts } from './restarts.js';
import { Run } from './run.js';
import { describeServices } from './services.js';
import { describeStop } from './stop.js';
import { describeTakeover } from './takeover.js';

/** Servers and processes that are killed, on a machine that does other things, too. */
const TEST_TIMEOUT_MS = 180_000;

/** All that can go wrong around a service, on one kind of database. */
export function describeFaults(database: FaultDatabase): void {
  jest.setTimeout(TEST_TIMEOUT_MS);

  database.describe(`faults on ${database.name}:`, () => {
    afterEach(() => Run.closeAll(), TEST_TIMEOUT_MS);

    if (database.own) describe('a network', () => describeNetwork(database));
    else describeFullDisk();
    describe('a process', () => describeFrozen(database));
    describe('a crash of', () => describeRestarts(database));
    describe('a race', () => describeRaces(database));
    describe('clocks', () => describeClocks(database));
    describe('steps', () => describeBadSteps(database));
    describe('poisoned jobs', () => describePoison(database));
    describe('services', () => describeServices(database));
    describe('stop()', () => describeStop(database));
    describe('a transaction', () => describeOldTransaction(database));
    describe('a takeover', () => describeTakeover(database));
  });
}
