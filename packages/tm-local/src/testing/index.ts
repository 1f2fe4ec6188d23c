export type { VirtualClock } from './virtual-clock.js';
export { virtualClock } from './virtual-clock.js';
