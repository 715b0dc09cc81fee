/** Budgets as the control interface shows them, and what the commands of budgets share. */
import { type Command, InvalidArgumentError } from 'commander';
import type { NodeFlags } from './context.ts';
import { UsageError } from './exit.ts';

export interface MachineShare {
  readonly machine_id: string;
  readonly name: string;
  readonly state: string;
  readonly allocated: number;
  readonly rights: number;
  readonly held: number;
  readonly spent: number;
  readonly overrun: number;
  readonly burnPerSecond: number;
  readonly stranded: number;
  readonly accounts: readonly string[];
}

export interface Budget {
  readonly task_id: string;
  readonly unit: string;
  readonly window: string;
  readonly parent: string | null;
  readonly limit: number;
  readonly owed: number;
  readonly reserve: number;
  readonly allocated: number;
  readonly held: number;
  readonly spent: number;
  readonly overrun: number;
  readonly remaining: number;
  /** Absent where the node is older. */
  readonly limitedBy?: string | null;
  readonly stranded: number;
  readonly onTheWay: number;
  readonly burnPerSecond: number;
  readonly projectedEnd: string | null;
  readonly periodEnd: string | null;
  readonly thresholdsPassed: readonly number[];
  /** Of agents of the machine that was asked. */
  readonly debts: readonly { readonly agent_id: string; readonly tokens: number }[];
  readonly machines: readonly MachineShare[];
  readonly problems: readonly string[];
}

export interface SpendFlags extends NodeFlags {
  readonly tokens?: number;
  readonly model?: string;
  readonly input?: number;
  readonly output?: number;
  readonly cached?: number;
}

export function budgetPath(budget: string, below = ''): string {
  return `/v1/budgets/${encodeURIComponent(budget)}${below}`;
}

/** Digits only: no sign, no fraction, no exponent, nothing beyond 2^53 - 1. */
export function amountText(least: 0 | 1): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d{1,16}$/.test(text) || !Number.isSafeInteger(value) || value < least) {
      throw new InvalidArgumentError(
        `It must be a whole number from ${least} to ${Number.MAX_SAFE_INTEGER}, in digits.`,
      );
    }
    return value;
  };
}

/** `[tokens]` and `--tokens`, or `--model` with its tokens. */
export function withSpending(command: Command, least: 0 | 1): Command {
  return command
    .argument('[tokens]', "amount in the budget's unit", amountText(least))
    .option('--tokens <n>', 'the same as a flag', amountText(least))
    .option('--model <name>', 'in place of tokens, for a budget in microusd: price these tokens of a model')
    .option('--input <n>', 'input tokens of the model, without those in --cached', amountText(0))
    .option('--output <n>', 'output tokens of the model', amountText(0))
    .option('--cached <n>', 'input tokens that the provider had cached', amountText(0));
}

/** One amount out of the two places where it may stand; `undefined` where it is in neither. */
export function amountOf(positional: number | undefined, flag: number | undefined): number | undefined {
  if (positional !== undefined && flag !== undefined)
    throw new UsageError('The amount is given twice.', 'Give it as argument or with --tokens, not both.');
  return positional ?? flag;
}

export function neededAmount(positional: number | undefined, flag: number | undefined): number {
  const amount = amountOf(positional, flag);
  if (amount !== undefined) return amount;
  throw new UsageError('The amount is missing.', 'Give it as the last argument, or with --tokens.');
}

/** What the control interface takes for what was or may be spent. */
export function spendingBody(positional: number | undefined, flags: SpendFlags): Record<string, unknown> {
  const { model, input, output, cached } = flags;
  const tokens = amountOf(positional, flags.tokens);
  const ofModel = input !== undefined || output !== undefined || cached !== undefined;
  if (model === undefined && !ofModel) return { tokens: neededAmount(tokens, undefined) };
  if (tokens !== undefined)
    throw new UsageError('Both an amount and tokens of a model are given.', 'Give one of them.');
  if (model === undefined)
    throw new UsageError('--input, --output and --cached need --model.', 'Name the model with --model.');
  if (!ofModel) throw new UsageError('--model needs its tokens.', 'Give --input, --output or --cached.');
  return { usage: { model, input, output, cached } };
}

export function grouped(amount: number): string {
  return amount.toLocaleString('en-US', { maximumFractionDigits: 2 });
}
