/**
 * What a call to a model costs, in micro-USD. Prices are written per million tokens in micro-USD, so that the usual
 * "3 dollars a million" is the integer 3,000,000 and one token of it costs 3 micro-USD. Sums are exact; only the
 * total of a call is rounded, up.
 */
import { errorBody, fail, ok, type Result } from '../kernel/errors.ts';
import { limits } from '../kernel/limits.ts';
import { type Amount, parseAmount } from './amount.ts';

/** Micro-USD for a million tokens. */
export interface ModelPrice {
  readonly input: Amount;
  readonly output: Amount;
  /** Input tokens that the provider had cached. */
  readonly cached: Amount;
}

export type PriceTable = ReadonlyMap<string, ModelPrice>;

/** Tokens of one call; `input` does not count those in `cached`. */
export interface TokenUse {
  readonly input: Amount;
  readonly output: Amount;
  readonly cached: Amount;
}

const MILLION = 1_000_000n;

/** Errors: INVALID_ARGUMENT. A model without a price for cached tokens pays the full one. */
export function parsePriceTable(value: unknown): Result<PriceTable> {
  if (!isPlain(value)) return invalid('The price table is no object.');
  const models = Object.entries(value);
  if (models.length > limits.priceModels)
    return invalid(`More than ${limits.priceModels} models have a price.`);
  const table = new Map<string, ModelPrice>();
  for (const [model, price] of models) {
    if (!isPlain(price)) return invalid(`The price of ${model} is no object.`);
    const input = parseAmount(price.input);
    const output = parseAmount(price.output);
    const cached = price.cached === undefined ? input : parseAmount(price.cached);
    if (input === undefined || output === undefined || cached === undefined) {
      return invalid(`A price of ${model} is no whole number of micro-USD per million tokens.`);
    }
    table.set(model, { input, output, cached });
  }
  return ok(table);
}

/** Tokens of one call as a caller gives them; missing kinds are 0. */
export function parseTokenUse(value: unknown): TokenUse | undefined {
  if (!isPlain(value)) return undefined;
  const input = parseAmount(value.input ?? 0);
  const output = parseAmount(value.output ?? 0);
  const cached = parseAmount(value.cached ?? 0);
  if (input === undefined || output === undefined || cached === undefined) return undefined;
  return { input, output, cached };
}

/** Errors: NOT_FOUND where the model has no price (a call that costs an unknown amount is not free), TOO_LARGE. */
export function priceOf(table: PriceTable, model: string, use: TokenUse): Result<Amount> {
  const price = table.get(model);
  if (price === undefined) {
    return fail(
      errorBody(
        'NOT_FOUND',
        `The model "${model}" has no price.`,
        'Add it under budgets.prices in the configuration of this node, and start it again.',
      ),
    );
  }
  const exact =
    BigInt(price.input) * BigInt(use.input) +
    BigInt(price.output) * BigInt(use.output) +
    BigInt(price.cached) * BigInt(use.cached);
  const cost = parseAmount(Number((exact + MILLION - 1n) / MILLION));
  return cost === undefined
    ? fail(errorBody('TOO_LARGE', 'The call costs more than can be counted.', 'Split it.'))
    : ok(cost);
}

function isPlain(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function invalid(message: string): { readonly ok: false; readonly error: ReturnType<typeof errorBody> } {
  return fail(
    errorBody(
      'INVALID_ARGUMENT',
      message,
      'Give input, output and cached as whole micro-USD per million tokens.',
    ),
  );
}
