import { describeCrashPoints, itCoversEveryCall } from './crash-points.js';
import { sqlite } from './sql-databases.js';

itCoversEveryCall();
describeCrashPoints({ name: 'one SQLite file', store: sqlite });
describeCrashPoints({ name: 'two SQLite files', store: sqlite, business: sqlite });
