import { mariadb } from './databases.js';
import { describeFaults } from './describe-faults.js';

describeFaults(await mariadb());
