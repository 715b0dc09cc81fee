/** What is wrong with the settings, each told where it stands and how to mend it. */
import { type ErrorBody, errorBody, SkeinError } from '../../kernel/errors.ts';

export interface ConfigProblem {
  /** Where a person finds it: `skein.yaml:12:3`, `--mesh-port` or `SKEIN_MESH_PORT`. */
  readonly place: string;
  readonly file?: string;
  /** From 1. */
  readonly line?: number;
  readonly column?: number;
  /** Path of the setting, such as `mesh.peers[1]`; absent where the file as a whole is at fault. */
  readonly key?: string;
  readonly message: string;
  /** The nearest right key, where one is close. */
  readonly suggestion?: string;
}

/** All problems in one error: `message` has a line for each, `details.problems` has them as data. */
export class ConfigError extends SkeinError {
  readonly problems: readonly ConfigProblem[];

  constructor(problems: readonly ConfigProblem[]) {
    super(bodyOf(problems));
    this.name = 'ConfigError';
    this.problems = problems;
  }
}

function bodyOf(problems: readonly ConfigProblem[]): ErrorBody {
  return errorBody(
    'INVALID_ARGUMENT',
    problems.map(describeProblem).join('\n'),
    'Correct the settings named; docs/CONFIGURATION.md lists them all.',
    { details: { problems } },
  );
}

/** `guard.keys[0].zone`. */
export function keyText(option: string, path: readonly PropertyKey[]): string {
  return path.reduce<string>(
    (text, step) => (typeof step === 'number' ? `${text}[${step}]` : `${text}.${String(step)}`),
    option,
  );
}

function describeProblem(problem: ConfigProblem): string {
  const key = problem.key === undefined ? '' : `${problem.key} `;
  const suggestion = problem.suggestion === undefined ? '' : `; did you mean "${problem.suggestion}"?`;
  return `${problem.place}: ${key}${problem.message}${suggestion}`;
}
