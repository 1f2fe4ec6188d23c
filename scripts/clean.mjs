// Removes what the build wrote, so that nothing of a renamed source is left in a package.
import { globSync, rmSync } from 'node:fs';

for (const path of globSync(['{packages,apps}/*/{dist,.turbo}', '.turbo', 'node_modules/.cache']))
  rmSync(path, { recursive: true, force: true });
