import { testService } from '@stepping/test-services';
import { describeCrashPoints } from './crash-points.js';
import { postgres, sqlite } from './sql-databases.js';

const service = await testService('postgres');

service.describe('with a server,', () => {
  describeCrashPoints({ name: 'one PostgreSQL database', store: postgres });
  describeCrashPoints({ name: 'two PostgreSQL databases', store: postgres, business: postgres });
  describeCrashPoints({ name: 'jobs in PostgreSQL, business in a SQLite file', store: postgres, business: sqlite });
});
