/** Arguments that the tools of budgets share, how they are checked, and what every call to a budget needs. */
import { z } from 'zod';
import { parseAmount } from '../budget/amount.ts';
import type { BudgetAnswers, BudgetCall, Budgets, PricedUse } from '../budget/api.ts';
import { parseRequestId } from '../budget/change.ts';
import { parseBudgetName } from '../budget/names.ts';
import { failWith, ok, type Result } from '../kernel/errors.ts';
import { limits } from '../kernel/limits.ts';
import type { NodeFaces } from './faces.ts';

/** No text, no fraction, no negative zero, nothing beyond 2^53 - 1. */
export function amount(least: 0 | 1) {
  const error = `must be a whole number from ${least} to ${Number.MAX_SAFE_INTEGER}`;
  return z
    .number({ error })
    .refine((value) => parseAmount(value, least) !== undefined, { error })
    .meta({ type: 'integer', minimum: least });
}

const NAME = { error: 'must be 1 to 64 of A-Z a-z 0-9 . _ : -, starting with a letter or digit' };
const ID = { error: `must be text of 1 to ${limits.budgetIdBytes} bytes without control characters` };
const MODEL = { error: 'must be the name of a model as in the price table' };

export const taskId = z.string(NAME).refine((name) => parseBudgetName(name) !== undefined, NAME);
export const requestId = z.string(ID).refine((id) => parseRequestId(id) !== undefined, ID);
const kind = amount(0).optional();

export const spentTokens = amount(1).optional();
const model = z.string(MODEL).refine((name) => name !== '' && name.length <= 128, MODEL);
/** In place of tokens, where the unit is micro-USD: priced by the table of the configuration. */
export const usage = z.strictObject({ model, input: kind, output: kind, cached: kind }).optional();
export const usageExplained = usage.describe('In place of tokens, where the unit is microusd.');

interface GivenSpending {
  readonly tokens?: number | undefined;
  readonly usage?: z.output<typeof usage>;
}

/** What was spent, as the budgets take it. Errors: INVALID_ARGUMENT where neither or both are given. */
export function spendingOf({
  tokens,
  usage: given,
}: GivenSpending): Result<{ readonly amount: number } | { readonly use: PricedUse }> {
  if ((tokens === undefined) === (given === undefined)) {
    return failWith(
      'INVALID_ARGUMENT',
      tokens === undefined ? 'Neither tokens nor usage is given.' : 'Both tokens and usage are given.',
      'Give tokens in the unit of the budget; or, where that is microusd, usage with the model and its tokens.',
    );
  }
  if (given === undefined) return ok({ amount: tokens ?? 0 });
  const { model, input, output, cached } = given;
  if ((input ?? 0) === 0 && (output ?? 0) === 0 && (cached ?? 0) === 0) {
    return failWith(
      'INVALID_ARGUMENT',
      'usage has no tokens: input, output and cached are all 0 or missing.',
      'Give at least one of them.',
    );
  }
  return ok({
    use: {
      model,
      ...(input === undefined ? {} : { input }),
      ...(output === undefined ? {} : { output }),
      ...(cached === undefined ? {} : { cached }),
    },
  });
}

export function noBudgets(): Result<never> {
  return failWith(
    'UNSUPPORTED',
    'This node keeps no budgets: it has no quorum store.',
    'Start it with quorum.engine embedded or etcd.',
  );
}

/** Asks the budgets, and shows their answer as `shown` says. */
export async function askBudgets<C extends BudgetCall>(
  { budgets }: NodeFaces,
  call: C,
  signal: AbortSignal | undefined,
  shown: (answer: BudgetAnswers[C['op']], budgets: Budgets) => Readonly<Record<string, unknown>>,
): Promise<Result<Readonly<Record<string, unknown>>>> {
  if (budgets === undefined) return noBudgets();
  const answer = await budgets.call(call, signal);
  return answer.ok ? ok(shown(answer.value, budgets)) : answer;
}
