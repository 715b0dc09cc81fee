/** The budgets over the core: calls become events, answers resolve promises; sums are worked out when they are asked for. */
import { statSync } from 'node:fs';
import type { BudgetAnswers, BudgetCall, Budgets } from '../budget/api.ts';
import type { BudgetDefaults, Budgets as BudgetMachine } from '../budget/budgets.ts';
import type { FreshNumber } from '../budget/names.ts';
import { type PriceTable, parsePriceTable } from '../budget/price.ts';
import { failWith, type Result, SkeinError } from '../kernel/errors.ts';
import type { Entropy } from '../kernel/ports.ts';
import type { Config } from './config/options.ts';
import type { FaceParts } from './faces.ts';

export function budgetsOf(
  { clock, calls, announcements, deliver }: FaceParts,
  machine: BudgetMachine,
): Budgets {
  return {
    call: <C extends BudgetCall>(call: C, signal?: AbortSignal) =>
      isCall(call)
        ? calls.ask<BudgetAnswers[C['op']]>(
            (id) => deliver({ kind: 'budgetRequested', id, call }),
            (id) => deliver({ kind: 'budgetCancelled', id }),
            signal,
          )
        : Promise.resolve(noCall()),
    status: (budget) => machine.status(budget, clock.now()),
    list: () => machine.list(clock.now()),
    get overdue() {
      return machine.overdue(clock.now());
    },
    get notRead() {
      return machine.notRead;
    },
    watch: (listener) => announcements.budgetChanges.listen('', listener),
    onThreshold: (listener) => announcements.thresholds.listen('', listener),
    get orchestrator() {
      return machine.orchestrator;
    },
  };
}

const OPERATIONS: Readonly<Record<BudgetCall['op'], true>> = {
  ...{ create: true, setLimit: true, request: true, reserve: true, settle: true },
  ...{ report: true, transfer: true, writeOff: true, rebalance: true },
};

/** Programs without types may call as well: the machine knows no other operations, and would not answer. */
function isCall(call: BudgetCall | null | undefined): boolean {
  return typeof call === 'object' && call !== null && Object.hasOwn(OPERATIONS, call.op);
}

function noCall(): Result<never> {
  return failWith(
    'INVALID_ARGUMENT',
    'This is no call of the budgets.',
    `Pass { op } with one of ${Object.keys(OPERATIONS).join(', ')}.`,
    { details: { outcome: 'not-done' } },
  );
}

/**
 * What tells the place of a directory from that of a copy: its inode and when it was made. Not the device's number, which
 * another order of starting gives to another disk. Where the file system keeps no time of birth, the inode alone.
 */
export function placeOf(directory: string): string {
  const { ino, birthtimeNs } = statSync(directory, { bigint: true });
  return `${ino}-${birthtimeNs}`;
}

export function budgetSettings({ budgets }: Pick<Config, 'budgets'>): {
  readonly prices: PriceTable;
  readonly defaults: BudgetDefaults;
} {
  const { prices: given, reserveTtl: ttlMs, expiry, thresholds } = budgets;
  const prices = parsePriceTable(given);
  if (!prices.ok) throw new SkeinError(prices.error);
  return { prices: prices.value, defaults: { ttlMs, expiry, thresholds } };
}

/** 53 random bits, never 0. */
export function freshNumber(entropy: Entropy): FreshNumber {
  for (;;) {
    const number = entropy
      .bytes(7)
      .reduce((value, byte, at) => value * 256 + (at === 0 ? byte & 31 : byte), 0);
    if (number > 0) return number;
  }
}

/** A call to the operating system costs many times what its bytes do. */
const DRAWN_BYTES = 1_024;

/** As `freshNumber`, drawn ahead: two copies of a running process go on with the same ones. So not for what tells copies apart. */
export function drawnNumbers(entropy: Entropy): () => FreshNumber {
  let words = new Uint32Array(0);
  let at = 0;
  return () => {
    for (;;) {
      if (at + 2 > words.length) {
        words = new Uint32Array(entropy.bytes(DRAWN_BYTES).slice().buffer);
        at = 0;
      }
      const number = ((words[at] ?? 0) & 0x1f_ffff) * 2 ** 32 + (words[at + 1] ?? 0);
      at += 2;
      if (number > 0) return number;
    }
  };
}
