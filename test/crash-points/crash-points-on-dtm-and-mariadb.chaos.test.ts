import { testService } from '@stepping/test-services';
import { dependsOnDatabase, describeCrashPointsOnDtm } from './dtm/crash-points.js';
import { mariadb } from './sql-databases.js';

const dtm = await testService('dtm-own');
const service = await testService('mariadb');

dtm.describe('with a DTM server', () => {
  service.describe('and one of the database,', () => {
    describeCrashPointsOnDtm({ name: 'MariaDB databases', business: mariadb, lanes: 16, isPoint: dependsOnDatabase });
  });
});
