import { testService } from '@stepping/test-services';
import { describeCrashPoints } from './crash-points.js';
import { mongodb } from './mongoose-database.js';
import { sqlite } from './sql-databases.js';

const service = await testService('mongodb');

service.describe('with a server,', () => {
  describeCrashPoints({ name: 'jobs in MongoDB, business in a SQLite file', store: mongodb, business: sqlite });
  describeCrashPoints({ name: 'jobs in a SQLite file, business in MongoDB', store: sqlite, business: mongodb });
});
