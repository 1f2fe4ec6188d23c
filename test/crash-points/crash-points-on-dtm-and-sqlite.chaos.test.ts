import { testService } from '@stepping/test-services';
import { describeCrashPointsOnDtm, itCoversEveryCallOnDtm } from './dtm/crash-points.js';
import { sqlite } from './sql-databases.js';

const service = await testService('dtm-own');

itCoversEveryCallOnDtm();
service.describe('with servers,', () => {
  describeCrashPointsOnDtm({ name: 'SQLite files', business: sqlite, lanes: 32 });
});
