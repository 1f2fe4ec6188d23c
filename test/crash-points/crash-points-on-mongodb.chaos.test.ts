import { testService } from '@stepping/test-services';
import { describeCrashPoints } from './crash-points.js';
import { mongodb } from './mongoose-database.js';

const service = await testService('mongodb');

service.describe('with a server,', () => {
  describeCrashPoints({ name: 'one MongoDB database', store: mongodb });
  describeCrashPoints({ name: 'two MongoDB databases', store: mongodb, business: mongodb });
});
