/** Exit codes, the same for every command. */
import type { ErrorBody } from '../kernel/errors.ts';
import { errorBody, SkeinError } from '../kernel/errors.ts';
import { NodeBroken } from '../node/broken.ts';
import { ConfigError } from '../node/config/problem.ts';

export const EXIT = {
  done: 0,
  refused: 1,
  usage: 2,
  unreachable: 3,
  quorumUnavailable: 4,
  denied: 5,
  /** EX_SOFTWARE of sysexits.h. */
  broken: 70,
} as const;

type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** The command line itself is wrong; nothing was done. */
export class UsageError extends SkeinError {
  constructor(message: string, hint: string) {
    super(errorBody('INVALID_ARGUMENT', message, hint));
    this.name = 'UsageError';
  }
}

/**
 * No answer from the node that the command talks to: it does not run, or not here. `unknown`: it may have been told what
 * to do, and have done it.
 */
export class NodeUnreachable extends SkeinError {
  constructor(message: string, hint: string, outcome: 'not-done' | 'unknown' = 'not-done') {
    super(errorBody('UNREACHABLE', message, hint, { details: { outcome } }));
    this.name = 'NodeUnreachable';
  }
}

/** The answer has been printed, and it is no: end with this exit code and say nothing more. */
export class Reported extends Error {
  readonly exitCode: ExitCode;

  constructor(exitCode: ExitCode) {
    super(`exit code ${exitCode}`);
    this.name = 'Reported';
    this.exitCode = exitCode;
  }
}

/** By the code of the error, whoever found it: an argument that cannot be right is wrong usage, here and at the node. */
export function exitCodeOf(error: SkeinError): ExitCode {
  if (error instanceof NodeBroken) return EXIT.broken;
  if (error instanceof NodeUnreachable) return EXIT.unreachable;
  if (error instanceof ConfigError) return EXIT.usage;
  switch (error.body.code) {
    case 'INVALID_ARGUMENT':
      return EXIT.usage;
    case 'DENIED':
    case 'UNAUTHENTICATED':
      return EXIT.denied;
    case 'QUORUM_UNAVAILABLE':
      return EXIT.quorumUnavailable;
    default:
      return EXIT.refused;
  }
}

/** An error of any kind as the one shape that users see. */
export function bodyOf(error: unknown): ErrorBody {
  if (error instanceof SkeinError) return error.body;
  const message = error instanceof Error ? error.message : String(error);
  return errorBody(
    'INTERNAL',
    `Skein failed in a way it should not: ${message}`,
    'Please report it, with the command and this message.',
  );
}
