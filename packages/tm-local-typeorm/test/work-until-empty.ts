// A worker as a process of its own: once its standard input ends, it claims, finishes and prints the gids of what it finished, until nothing is left.
import { once } from 'node:events';
import { DataSource } from 'typeorm';
import { aClaim, openStore } from './a-store.js';

const dataSource = await new DataSource(JSON.parse(process.argv.at(-1) as string)).initialize();
const store = openStore({ dataSource });
await store.start();
console.log('ready');
await once(process.stdin.resume(), 'end');

const mine: string[] = [];
for (let jobs = await store.claimDue(aClaim({ limit: 7 })); jobs.length > 0; jobs = await store.claimDue(aClaim({ limit: 7 }))) {
  const finished = await store.save(
    jobs.map(({ gid, lease }) => ({
      gid,
      lease,
      step: 2,
      attempt: 1,
      status: 'succeeded',
      giveUp: true,
      dueInMs: undefined,
      queue: undefined,
      error: undefined,
    })),
  );
  mine.push(...finished);
}
console.log(JSON.stringify(mine));
await store.stop();
await dataSource.destroy();
