/** Counters and gauges, shown in the text format of Prometheus (version 0.0.4). */
import type { Meter } from '../../kernel/ports.ts';

/** What `/metrics` shows. */
export interface MeterReading {
  text(): string;
}

/** Names beyond this many are not kept: a name made from input must not fill the memory. */
const MOST_NAMES = 2_000;

export class TextMeter implements Meter, MeterReading {
  readonly #counters = new Map<string, number>();
  readonly #gauges = new Map<string, number>();

  count(name: string, by = 1): void {
    const value = this.#counters.get(name);
    if (value === undefined && this.#counters.size >= MOST_NAMES) return;
    this.#counters.set(name, (value ?? 0) + by);
  }

  gauge(name: string, value: number): void {
    if (!this.#gauges.has(name) && this.#gauges.size >= MOST_NAMES) return;
    this.#gauges.set(name, value);
  }

  text(): string {
    const lines: string[] = [];
    for (const [name, value] of sorted(this.#counters)) {
      const metric = `${metricName(name)}_total`;
      lines.push(`# TYPE ${metric} counter`, `${metric} ${value}`);
    }
    for (const [name, value] of sorted(this.#gauges)) {
      const metric = metricName(name);
      lines.push(`# TYPE ${metric} gauge`, `${metric} ${Number.isFinite(value) ? value : 'NaN'}`);
    }
    return `${lines.join('\n')}\n`;
  }
}

function sorted(values: ReadonlyMap<string, number>): [string, number][] {
  return [...values].sort(([left], [right]) => (left < right ? -1 : 1));
}

/** `board.writes` is `skein_board_writes`; `rttMs` is `rtt_ms`. */
function metricName(name: string): string {
  const words = name.replace(/([a-z0-9])([A-Z])/g, '$1_$2').toLowerCase();
  return `skein_${words.replace(/[^a-z0-9]+/g, '_').replace(/^_+|_+$/g, '')}`;
}
