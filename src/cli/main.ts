#!/usr/bin/env node
// Everything else is imported only once the version is known to do, since an old Node cannot even parse it.
import { versionProblem } from './version.ts';

const problem = versionProblem(process.versions.node);
if (problem === undefined) {
  start().catch((error: unknown) => {
    console.error(error);
    process.exitCode = 1;
  });
} else {
  console.error(problem);
  process.exitCode = 1;
}

async function start(): Promise<void> {
  // Halves the start and a third of the memory. Beside the code, so that whoever can write there can change the
  // code anyway, which does not hold for Node's own choice below /tmp. Where it cannot be written, nothing is lost.
  const { enableCompileCache } = await import('node:module');
  enableCompileCache(
    decodeURIComponent(new URL('../../node_modules/.cache/skein', import.meta.url).pathname),
  );
  const { runProcess } = await import('./run.ts');
  await runProcess();
}
