#!/usr/bin/env node
// Everything else is imported only once the version is known to do, since an old Node cannot even parse it.
import { versionProblem } from './version.ts';

const problem = versionProblem(process.versions.node);
if (problem === undefined) {
  import('./run.ts').then(
    ({ runProcess }) => runProcess(),
    (error: unknown) => {
      console.error(error);
      process.exitCode = 1;
    },
  );
} else {
  console.error(problem);
  process.exitCode = 1;
}
