export type { DtmServer } from './dtm-server.js';
