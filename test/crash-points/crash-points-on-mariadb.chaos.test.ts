import { testService } from '@stepping/test-services';
import { describeCrashPoints } from './crash-points.js';
import { mariadb } from './sql-databases.js';

const service = await testService('mariadb');

service.describe('with a server,', () => {
  describeCrashPoints({ name: 'one MariaDB database', store: mariadb });
  describeCrashPoints({ name: 'two MariaDB databases', store: mariadb, business: mariadb });
});
