import { testService } from '@stepping/test-services';
import { describeCrashPoints } from './crash-points.js';
import { mariadb } from './databases.js';

const service = await testService('mariadb');

service.describe('with a server,', () => {
  describeCrashPoints({ name: 'one MariaDB database', store: mariadb, server: true });
  describeCrashPoints({ name: 'two MariaDB databases', store: mariadb, business: mariadb, server: true });
});
