import { testService } from '@stepping/test-services';
import { dependsOnDatabase, describeCrashPointsOnDtm } from './dtm/crash-points.js';
import { mongodb } from './mongoose-database.js';

const dtm = await testService('dtm-own');
const service = await testService('mongodb');

dtm.describe('with a DTM server', () => {
  service.describe('and one of the database,', () => {
    describeCrashPointsOnDtm({ name: 'MongoDB databases', business: mongodb, lanes: 16, isPoint: dependsOnDatabase });
  });
});
