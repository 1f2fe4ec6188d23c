import { sqlite } from './databases.js';
import { describeFaults } from './describe-faults.js';

describeFaults(await sqlite());
