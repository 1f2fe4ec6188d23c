import { describeCrashPoints, itCoversEveryCall } from './crash-points.js';
import { sqlite } from './databases.js';

itCoversEveryCall();
describeCrashPoints({ name: 'one SQLite file', store: sqlite, server: false });
describeCrashPoints({ name: 'two SQLite files', store: sqlite, business: sqlite, server: false });
