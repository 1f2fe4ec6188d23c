// Starts a store, as a process of an application does, and stops it again.
import { DataSource } from 'typeorm';
import { openStore } from './a-store.js';

const dataSource = await new DataSource(JSON.parse(process.argv.at(-1) as string)).initialize();
const store = openStore({ dataSource });
await store.start();
await store.stop();
await dataSource.destroy();
