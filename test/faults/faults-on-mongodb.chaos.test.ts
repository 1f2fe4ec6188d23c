import { mongodb } from './databases.js';
import { describeFaults } from './describe-faults.js';

describeFaults(await mongodb());
