export { anApp, errorOf, ran, sendMail, started, stopApps } from '../../../db-typeorm/test/support/apps.js';
