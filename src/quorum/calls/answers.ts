/** What callers are told: outcomes of the register in the words of the port. */
import { errorBody, fail, ok, type Result } from '../../kernel/errors.ts';
import type { Applied } from '../register/outcome.ts';

const HINTS: Readonly<Record<string, string>> = {
  INVALID_ARGUMENT: 'Mend the call.',
  TOO_LARGE: 'Write less at once.',
  NOT_FOUND: 'Acquire a new lease: what hung on the old one is gone.',
  CONFLICT: 'Try again.',
  QUOTA_EXCEEDED: 'Delete keys that are no longer needed.',
};

/** Of an applied command, for its caller. `undefined` where there is no answer in it: it was refused. */
export function answerOf(applied: Applied): Result<unknown> | undefined {
  const { result } = applied;
  switch (result.kind) {
    case 'transacted':
      return ok(result.answer);
    case 'granted':
      return ok({ id: result.lease.id, ttlMs: result.lease.ttlMs });
    case 'revoked':
      return ok({ revision: result.revision });
    case 'failed':
      return fail(
        errorBody(result.code, `Refused: ${result.message}.`, HINTS[result.code] ?? 'Mend the call.'),
      );
    case 'done':
    case 'refused':
      return undefined;
  }
}
