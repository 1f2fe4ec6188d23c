import type { TmPlugin } from '@stepping/core';
import { dtm } from '@stepping/tm-dtm';
import { localTm } from '@stepping/tm-local';
import { hostedProcessor } from '@stepping/tm-local-hosted-processor';
import { config } from './config.js';
import { jobs } from './databases.js';

/** How soon the jobs of a killed process go on elsewhere, or are asked for again. Short, so that the demo need not wait; 10 000 is the default of both. Unit: ms. */
const RECOVERY_MS = 2_000;

/** What runs the steps: this service itself, or a DTM server that calls it. Nothing else of the service knows which. */
export const tm: TmPlugin = config.dtm
  ? dtm({ ...config.dtm, retryIntervalMs: RECOVERY_MS })
  : localTm({
      store: jobs,
      processor: config.role === 'web' ? false : hostedProcessor(),
      leaseMs: RECOVERY_MS,
      prepareTimeoutMs: RECOVERY_MS,
    });
