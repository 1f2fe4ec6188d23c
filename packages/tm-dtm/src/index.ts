export type { CallbackUrl } from './callback-urls.js';
export type { DtmOptions } from './dtm.js';
export { dtm } from './dtm.js';
export type { ListenOptions } from './listen.js';
