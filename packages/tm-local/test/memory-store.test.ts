import { describeTransactionStore } from '../src/testing/index.js';
import { memoryHarness } from '../src/testing/memory-harness.js';

describeTransactionStore('memoryStore', async () => memoryHarness());
