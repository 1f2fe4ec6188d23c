import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from '@jest/globals';
import { audit, gids } from './audit.js';
import { newFile } from './databases.js';
import type { Place } from './place.js';
import { Run } from './run.js';
import { ORDINARY, PLAIN } from './steps.js';
import { until } from './until.js';

const DISK_BYTES = 4_000_000;

/** A file system of a few megabytes: only root may mount one. Throws where that cannot be. What is given back unmounts it. */
function mountSmallDisk(): { readonly folder: string; unmount(): void } {
  const folder = newFile('disk');
  mkdirSync(folder);
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'tmpfs', folder], { stdio: 'ignore' });
  return { folder, unmount: () => execFileSync('umount', [folder]) };
}

function canMount(): boolean {
  try {
    mountSmallDisk().unmount();
    return true;
  } catch {
    return false;
  }
}

/** The disk under a SQLite file. */
export function describeFullDisk(): void {
  const possible = canMount();
  const here = possible ? it : it.skip;

  describe('a disk', () => {
    here(
      `that is full refuses orders truly, ends nobody, and all goes on when there is room${possible ? '' : ' (skipped: only root may mount a small one)'}`,
      async () => {
        const { folder, unmount } = mountSmallDisk();
        const create = async (label: string): Promise<Place> => ({ kind: 'sqlite', url: join(folder, `${label}.sqlite`) });
        const run = await Run.open({ create });
        run.atEnd(async () => unmount());
        const shop = await run.process({ leaseMs: 2_000 });
        run.told.push(...(await shop.do('order', gids('before', 20), ORDINARY)));
        // These are in the middle of their work when the disk is full.
        run.told.push(...(await shop.do('start', gids('during', 20), [['take', { ms: 500 }], ['pack', { ms: 500 }], 'send'])));
        fill(folder);
        for (let i = 0; i < 3; i++) {
          run.told.push(...(await shop.do('order', gids(`full-${i}`, 5), ORDINARY)));
          await new Promise((resolve) => setTimeout(resolve, 300));
        }
        const refused = run.told.filter(({ gid, told }) => gid.startsWith('full') && told !== 'yes');
        assert.ok(refused.length > 0, 'The disk was not full');
        rmSync(join(folder, 'ballast'));
        await until('an order goes through again', async () => {
          const again = await shop.do('order', [`again-${run.told.length}`], ORDINARY);
          run.told.push(...again);
          return again[0]?.told === 'yes';
        });
        run.told.push(...(await shop.do('start', gids('after', 10), PLAIN)));
        await run.untilAllEnded();
        await audit(run);
        await shop.stop();
      },
    );
  });
}

/** To the last byte. */
function fill(folder: string): void {
  const { bsize, bavail } = statfsSync(folder);
  for (let blocks = bavail; blocks >= 0; blocks--) {
    try {
      writeFileSync(join(folder, 'ballast'), Buffer.alloc(blocks * bsize));
      return;
    } catch {
      // Somebody else has taken some of it.
    }
  }
}
