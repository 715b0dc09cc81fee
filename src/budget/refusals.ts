/** What is said where money is lacking. */
import { type ErrorBody, errorBody, fail, type Result } from '../kernel/errors.ts';
import type { Mirror } from './mirror.ts';
import type { BudgetName, PurseKey } from './names.ts';
import type { Remains } from './status.ts';

/** The purse that has too little, where that is why. */
export function lackingPurse(result: Result<unknown>): PurseKey | undefined {
  if (result.ok || result.error.code !== 'BUDGET_EXHAUSTED') return undefined;
  return result.error.details?.purse as PurseKey | undefined;
}

/**
 * `reachable`: what all that were asked have, without the reserve; else what was heard of them counts. `limit`: of the
 * budget, or of each of its periods.
 */
export function exhaustedError(
  remains: Remains,
  needed: number,
  reachable: number | undefined,
  retryAfterMs: number,
  limit: number,
): ErrorBody {
  const { budget, reserve, rights, doubtful, owed, held, machines, periodEndsInMs } = remains;
  const has = reserve + (reachable === undefined ? rights : Math.max(0, reachable - doubtful));
  const own = Math.max(0, has - owed);
  const left = Math.min(own, remains.atMost);
  // What is held may be given back; nothing else comes before the next period, or a higher limit.
  const later = own + held >= needed ? retryAfterMs : periodEndsInMs;
  const waitMs = needed > limit ? undefined : later;
  const named = machines.map(({ nodeId, ...machine }) => ({ machine_id: nodeId, ...machine }));
  return errorBody(
    'BUDGET_EXHAUSTED',
    `Of budget "${budget}" ${left} can be had from here, and ${needed} is asked for.`,
    held > 0 && needed <= limit
      ? `${held} is held by reservations that may be settled for less; ask for less, or raise the limit.`
      : 'Ask for less, or raise the limit (skein budget limit).',
    {
      retryable: waitMs !== undefined,
      ...(waitMs === undefined ? {} : { retryAfterMs: waitMs }),
      details: { outcome: 'not-done', budget, needed, remaining: left, reserve, held, machines: named },
    },
  );
}

/** The reserve has something, and no majority can be reached that would grant it. */
export function unavailableError(
  { budget, reserve, rights, owed, atMost }: Remains,
  retryAfterMs: number,
): ErrorBody {
  const left = Math.min(Math.max(0, rights - owed), atMost);
  return errorBody(
    'QUORUM_UNAVAILABLE',
    `Nodes that can be reached have ${left} of budget "${budget}", and its reserve of ${reserve} cannot be asked.`,
    'Try again when a majority of the voters can be reached; see skein doctor.',
    { retryAfterMs, details: { outcome: 'not-done', budget, remaining: left, reserve } },
  );
}

/** Which budgets there are is not known before the store was heard: none may be said to be missing. */
export function notReadError(): ErrorBody {
  return errorBody(
    'QUORUM_UNAVAILABLE',
    'This node has not heard from the quorum store since its start, and does not know which budgets there are.',
    'Try again; if it lasts, see skein doctor.',
    { retryAfterMs: 500, details: { outcome: 'not-done' } },
  );
}

/** Of a budget that was looked for in this mirror. */
export function foundIn<T>(
  { isProved, unreadable }: Pick<Mirror, 'isProved' | 'unreadable'>,
  result: Result<T>,
): Result<T> {
  if (result.ok || result.error.code !== 'NOT_FOUND') return result;
  const budget = result.error.details?.budget as BudgetName;
  if (unreadable.has(budget)) return fail(unreadableError(budget));
  return isProved ? result : fail(notReadError());
}

function unreadableError(budget: BudgetName): ErrorBody {
  return errorBody(
    'UNSUPPORTED',
    `The budget "${budget}" was written by a later version of Skein than this node runs.`,
    'Upgrade this node, or use one that was upgraded.',
    { details: { outcome: 'not-done', budget } },
  );
}

/** `outcome`: of what was asked for. */
export function diskFails(reason: string, outcome: 'not-done' | 'unknown'): ErrorBody {
  return errorBody('INTERNAL', `The disk of this node fails: ${reason}`, 'Free or repair the disk.', {
    retryable: true,
    details: { outcome },
  });
}
