import { testService } from '@stepping/test-services';
import type { Accident } from './accidents.js';
import { describeCrashPoints } from './crash-points.js';
import { mongodb } from './mongoose-database.js';
import { sqlite } from './sql-databases.js';

const service = await testService('mongodb');

/** What a call that is not heard does to each database is tried where it is alone. Between the two of them only a process can be lost. */
const isPoint = ({ kind }: Accident) => kind.startsWith('crash');

service.describe('with a server,', () => {
  describeCrashPoints({ name: 'jobs in MongoDB, business in a SQLite file', store: mongodb, business: sqlite, isPoint });
  describeCrashPoints({ name: 'jobs in a SQLite file, business in MongoDB', store: sqlite, business: mongodb, isPoint });
});
