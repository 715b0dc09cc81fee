/** What a benchmark found, beside what was wanted; missed goals are shown as missed. */
import type { Spread } from './stats.ts';

export type Unit =
  | 'us'
  | 'ms'
  | 's'
  | 'ops/s'
  | 'calls/s'
  | 'bytes'
  | 'MB'
  | '% of a core'
  | '% of all'
  | ''
  | 'x';

/** A bound on a figure itself, or on its ratio to a peer's figure of the same run. */
export interface Goal {
  readonly direction: 'at most' | 'at least';
  readonly bound: number;
  /** What the ratio is taken to; absent where the bound is on the figure itself. */
  readonly peer?: string;
}

export interface Figure {
  readonly section: string;
  readonly what: string;
  readonly who: string;
  readonly unit: Unit;
  readonly spread: Spread;
  readonly goal?: Goal;
  /** This figure over the peer's, medians of the same run. */
  readonly ratio?: number;
  /** Anything a reader must know to read the figure rightly. */
  readonly note?: string;
}

export type Outcome = 'met' | 'MISSED' | '';

export function outcomeOf(figure: Figure): Outcome {
  if (figure.goal === undefined) return '';
  const value = figure.goal.peer === undefined ? figure.spread.median : figure.ratio;
  if (value === undefined || Number.isNaN(value)) return 'MISSED';
  const met = figure.goal.direction === 'at most' ? value <= figure.goal.bound : value >= figure.goal.bound;
  return met ? 'met' : 'MISSED';
}

export class Report {
  readonly figures: Figure[] = [];
  readonly remarks: string[] = [];
  failures = 0;

  add(figure: Figure): void {
    this.figures.push(figure);
  }

  remark(text: string): void {
    this.remarks.push(text);
  }

  /** A failed part of a run is a missed goal with its reason, not a gap in the table. */
  failed(section: string, what: string, error: unknown): void {
    const text = error instanceof Error ? error.message : String(error);
    const reason = text.split('\n').slice(0, 2).join(' ').slice(0, 300);
    this.failures++;
    this.remarks.push(`${section}: ${what} FAILED: ${reason}`);
  }
}

const COLUMNS = ['what', 'who', 'median', 'min … max', 'ratio', 'goal', ''] as const;

/** A Markdown table per section. */
export function render(report: Report): string {
  const sections = [...new Set(report.figures.map((figure) => figure.section))];
  const parts = sections.map((section) => {
    const rows = report.figures.filter((figure) => figure.section === section).map(rowOf);
    return [`### ${section}`, '', ...tableOf([[...COLUMNS], ...rows])].join('\n');
  });
  if (report.remarks.length > 0) parts.push(report.remarks.map((remark) => `- ${remark}`).join('\n'));
  return parts.join('\n\n');
}

function rowOf(figure: Figure): string[] {
  const { spread, unit } = figure;
  return [
    figure.what,
    figure.note === undefined ? figure.who : `${figure.who} (${figure.note})`,
    format(spread.median, unit),
    spread.rounds > 1 ? `${bare(spread.min, unit)} … ${bare(spread.max, unit)}` : 'one round',
    figure.ratio === undefined ? '' : `${figure.ratio.toFixed(2)}x`,
    goalText(figure.goal, unit),
    outcomeOf(figure),
  ];
}

function goalText(goal: Goal | undefined, unit: Unit): string {
  if (goal === undefined) return '';
  const sign = goal.direction === 'at most' ? '<=' : '>=';
  return goal.peer === undefined
    ? `${sign} ${format(goal.bound, unit)}`
    : `${sign} ${goal.bound}x ${goal.peer}`;
}

function tableOf(rows: readonly (readonly string[])[]): string[] {
  const widths = COLUMNS.map((_, at) => Math.max(3, ...rows.map((row) => (row[at] ?? '').length)));
  const line = (row: readonly string[]) =>
    `| ${widths.map((width, at) => (row[at] ?? '').padEnd(width)).join(' | ')} |`;
  const [head = [], ...body] = rows;
  return [line(head), `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`, ...body.map(line)];
}

function bare(value: number, unit: Unit): string {
  if (Number.isNaN(value)) return 'none';
  if (unit === 'x') return value.toFixed(2);
  const digits = value >= 100 || unit === 'bytes' ? 0 : value >= 10 ? 1 : 2;
  return value.toLocaleString('en', { maximumFractionDigits: digits });
}

export function format(value: number, unit: Unit): string {
  return unit === '' || Number.isNaN(value)
    ? bare(value, unit)
    : `${bare(value, unit)} ${unit}`.replace(' x', 'x');
}
