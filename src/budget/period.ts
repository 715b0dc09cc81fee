/**
 * The periods of a budget with a window, in UTC. A node books into the period that its own clock names; every period has
 * a reserve of its own, so clocks that disagree spend from different periods and never one period's money twice.
 */
import type { Branded } from '../kernel/ids.ts';

export const WINDOWS = ['none', 'hour', 'day', 'month'] as const;
export type Window = (typeof WINDOWS)[number];

/** `all`, `2026-11-21T15`, `2026-11-21` or `2026-11`. Of one window, the order of the text is the order of time. */
export type Period = Branded<string, 'Period'>;

const LENGTHS: Readonly<Record<Window, number>> = { none: 0, hour: 13, day: 10, month: 7 };
const HOUR_MS = 3_600_000;
/** Year 9999: later years do not sort as text. */
const LAST_MS = 253_402_300_799_999;

export function parsePeriod(text: unknown): Period | undefined {
  if (typeof text !== 'string') return undefined;
  if (text === 'all') return text as Period;
  const window = windowOf(text as Period);
  const startMs = window === undefined ? undefined : Date.parse(fullDate(text));
  if (window === undefined || startMs === undefined || Number.isNaN(startMs)) return undefined;
  return periodAt(window, startMs) === text ? (text as Period) : undefined;
}

/** The period of `wallMs`. Times before 1970 or after 9999 count as the nearest there is. */
export function periodAt(window: Window, wallMs: number): Period {
  if (window === 'none') return 'all' as Period;
  const known = Number.isFinite(wallMs) ? Math.min(Math.max(0, Math.floor(wallMs)), LAST_MS) : 0;
  return new Date(known).toISOString().slice(0, LENGTHS[window]) as Period;
}

/** First moment after the period, in wall milliseconds; infinity where it has no end. */
export function periodEndMs(period: Period): number {
  const window = windowOf(period);
  if (window === undefined) return Number.POSITIVE_INFINITY;
  const start = new Date(fullDate(period));
  if (window === 'hour') return start.getTime() + HOUR_MS;
  if (window === 'day') return start.getTime() + 24 * HOUR_MS;
  return Date.UTC(start.getUTCFullYear(), start.getUTCMonth() + 1, 1);
}

/** `undefined` for `all`, and for what is no period. */
export function windowOf(period: Period): Exclude<Window, 'none'> | undefined {
  if (/^\d{4}-\d{2}-\d{2}T\d{2}$/.test(period)) return 'hour';
  if (/^\d{4}-\d{2}-\d{2}$/.test(period)) return 'day';
  return /^\d{4}-\d{2}$/.test(period) ? 'month' : undefined;
}

function fullDate(period: string): string {
  return `${period}${'0000-01-01T00:00:00.000Z'.slice(period.length)}`;
}
