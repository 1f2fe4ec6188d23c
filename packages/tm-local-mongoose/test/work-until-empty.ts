// A worker as a process of its own: once its standard input ends, it claims, finishes and prints the gids of what it finished, until nothing is left.
import { once } from 'node:events';
import mongoose from 'mongoose';
import { aClaim, aSave, openStore } from './a-store.js';

const connection = await mongoose.createConnection(process.argv.at(-1) as string).asPromise();
const store = openStore({ connection });
await store.start();
console.log('ready');
await once(process.stdin.resume(), 'end');

const mine: string[] = [];
for (let jobs = await store.claimDue(aClaim({ limit: 7 })); jobs.length > 0; jobs = await store.claimDue(aClaim({ limit: 7 }))) {
  mine.push(...(await store.save(jobs.map((job) => aSave(job, { step: 2, status: 'succeeded', giveUp: true })))));
}
console.log(JSON.stringify(mine));
await store.stop();
await connection.close();
