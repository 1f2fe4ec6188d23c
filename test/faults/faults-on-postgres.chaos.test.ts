import { postgres } from './databases.js';
import { describeFaults } from './describe-faults.js';

describeFaults(await postgres());
