#!/usr/bin/env node
// JavaScript, as is version.js, for two reasons: a Node too old for TypeScript still gets to say so, and the module
// that strips types (some 15 MB) is not loaded where all else comes stripped from the compile cache.
import { versionProblem } from './version.js';

const problem = versionProblem(process.versions.node);
if (problem === undefined) {
  start().catch((error) => {
    console.error(error);
    process.exitCode = 1;
  });
} else {
  console.error(problem);
  process.exitCode = 1;
}

async function start() {
  // Halves the start and a third of the memory. Beside the code, so that whoever can write there can change the
  // code anyway, which does not hold for Node's own choice below /tmp. Where it cannot be written, nothing is lost.
  const { enableCompileCache } = await import('node:module');
  enableCompileCache(
    decodeURIComponent(new URL('../../node_modules/.cache/skein', import.meta.url).pathname),
  );
  const { runProcess } = await import('./run.ts');
  await runProcess();
}
