import { errorBody, SkeinError } from '../kernel/errors.ts';

/** An invariant of the node's core does not hold: nothing that it would do next could be trusted, so it does nothing more. */
export class NodeBroken extends SkeinError {
  constructor(cause: unknown) {
    const message = cause instanceof Error ? cause.message : String(cause);
    super(
      errorBody(
        'INTERNAL',
        `The node has stopped, since it found an error of its own: ${message}`,
        'Start it again: what was acknowledged is on disk. Please report it, with the log.',
      ),
    );
    this.name = 'NodeBroken';
    this.cause = cause;
  }
}
