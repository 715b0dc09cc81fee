/** What a live run with budgets came to. */
import type { Ended } from './ending.ts';
import type { Peak } from './judge.ts';

export interface BudgetChaosReport {
  readonly kind: 'budget';
  readonly scenario: string;
  readonly seed: number;
  readonly nodes: number;
  readonly seconds: number;
  readonly places: string;
  /** Faults left out, and why. */
  readonly leftOut: readonly string[];
  readonly faults: Readonly<Record<string, number>>;
  readonly reservations: {
    readonly granted: number;
    readonly denied: number;
    /** Of these, while it could have been had; as well as that can be told. */
    readonly deniedFalsely: number;
    readonly failed: number;
    readonly unknown: number;
  };
  readonly served: { readonly calls: number; readonly tokens: number };
  /** The last, and highest. */
  readonly limit: number;
  readonly peaks: readonly Peak[];
  readonly end?: Ended;
  readonly errors: Readonly<Record<string, number>>;
  readonly violations: readonly string[];
}

export function describeBudgetReport(report: BudgetChaosReport): string {
  const { reservations: of, served, end, violations } = report;
  const pairs = (counts: Readonly<Record<string, number>>) =>
    Object.entries(counts)
      .map(([name, count]) => `${name} ${count}`)
      .join(', ');
  const ended =
    end === undefined
      ? []
      : [
          `  at the end    ${end.taken} of ${end.left} left were spent from one node; ${end.stranded} stranded: ${end.writtenOff} written off (${end.takenAgain} of it spent), ${end.lost} lost`,
        ];
  return [
    `${report.scenario}, seed ${report.seed}: ${report.nodes} nodes in ${report.places}, ${report.seconds} s of faults`,
    `  faults        ${pairs(report.faults)}`,
    ...report.leftOut.map((line) => `  left out      ${line}`),
    `  reservations  ${of.granted} granted, ${of.denied} denied (${of.deniedFalsely} while it could be had), ${of.failed} failed, ${of.unknown} of unknown outcome`,
    `  provider      ${served.tokens} tokens in ${served.calls} calls, of a limit raised to ${report.limit}`,
    ...report.peaks.map(
      ({ budget, granted, limit }) => `  closest       ${granted} of ${limit} granted at once (${budget})`,
    ),
    ...ended,
    `  errors        ${pairs(report.errors) || 'none'}`,
    violations.length === 0
      ? 'Every promise held: nothing beyond the limit, all accounted for, all that was left could be spent.'
      : ['Broken promises:', ...violations].join('\n'),
  ].join('\n');
}
