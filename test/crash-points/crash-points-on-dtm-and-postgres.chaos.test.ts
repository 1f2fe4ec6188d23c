import { testService } from '@stepping/test-services';
import { dependsOnDatabase, describeCrashPointsOnDtm } from './dtm/crash-points.js';
import { postgres } from './sql-databases.js';

const dtm = await testService('dtm-own');
const service = await testService('postgres');

dtm.describe('with a DTM server', () => {
  service.describe('and one of the database,', () => {
    describeCrashPointsOnDtm({ name: 'PostgreSQL databases', business: postgres, lanes: 16, isPoint: dependsOnDatabase });
  });
});
