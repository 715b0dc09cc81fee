/**
 * Counters and gauges, rendered as Prometheus text (exposition format 0.0.4). Names are given as the machines
 * mark them (`board.refused`) and become `skein_board_refused_total` for counters, `skein_board_refused` for gauges.
 */
import { limits } from '../../kernel/limits.ts';
import type { Meter } from '../../kernel/ports.ts';

export interface NodeMeter extends Meter {
  /** What the metric means, for `# HELP`; without one its dotted name stands there. */
  describe(name: string, help: string): void;
  /** Called before every rendering, to set gauges that are read rather than kept. */
  onCollect(collect: () => void): void;
  /** The current value; `undefined` where the name was never used. */
  value(kind: 'counter' | 'gauge', name: string): number | undefined;
  render(): string;
}

export function createMeter(): NodeMeter {
  return new Metrics();
}

/** Memory, processor time and how busy the event loop is, read at every rendering. */
export function collectProcess(meter: NodeMeter): void {
  let last = performance.eventLoopUtilization();
  meter.describe('process.resident_memory_bytes', 'Resident memory of this process.');
  meter.describe('process.cpu_seconds', 'Processor time, user and system, since the start.');
  meter.describe('process.uptime_seconds', 'Time since the process started.');
  meter.describe('event_loop.utilization', 'Busy share of the event loop since the last scrape, 0 to 1.');
  meter.onCollect(() => {
    const { user, system } = process.cpuUsage();
    const now = performance.eventLoopUtilization();
    meter.gauge('process.resident_memory_bytes', process.memoryUsage.rss());
    meter.gauge('process.heap_used_bytes', process.memoryUsage().heapUsed);
    meter.gauge('process.cpu_seconds', (user + system) / 1e6);
    meter.gauge('process.uptime_seconds', process.uptime());
    meter.gauge('event_loop.utilization', performance.eventLoopUtilization(now, last).utilization);
    last = now;
  });
}

class Metrics implements NodeMeter {
  readonly #counters = new Map<string, number>();
  readonly #gauges = new Map<string, number>();
  readonly #help = new Map<string, string>();
  readonly #collectors: (() => void)[] = [];

  /** Counters never go down: a negative, infinite or missing amount counts nothing. */
  count(name: string, by = 1): void {
    if (!(by >= 0) || by === Number.POSITIVE_INFINITY) return;
    const held = this.#counters.get(name);
    if (held === undefined && this.#isFull()) return;
    this.#counters.set(name, (held ?? 0) + by);
  }

  gauge(name: string, value: number): void {
    if (!this.#gauges.has(name) && this.#isFull()) return;
    this.#gauges.set(name, value);
  }

  describe(name: string, help: string): void {
    if (this.#help.size < limits.metrics) this.#help.set(name, help);
  }

  onCollect(collect: () => void): void {
    this.#collectors.push(collect);
  }

  value(kind: 'counter' | 'gauge', name: string): number | undefined {
    return (kind === 'counter' ? this.#counters : this.#gauges).get(name);
  }

  render(): string {
    for (const collect of this.#collectors) collect();
    const blocks = [
      ...this.#blocks('counter', this.#counters, '_total'),
      ...this.#blocks('gauge', this.#gauges, ''),
    ];
    return blocks.sort().join('');
  }

  /** Two names may come to the same metric (`a.b` and `a_b`); it is shown once, with their sum. */
  *#blocks(type: string, values: ReadonlyMap<string, number>, suffix: string): Generator<string> {
    const shown = new Map<string, { name: string; value: number }>();
    for (const [name, value] of values) {
      const metric = metricName(name, suffix);
      const earlier = shown.get(metric);
      shown.set(metric, { name: earlier?.name ?? name, value: (earlier?.value ?? 0) + value });
    }
    for (const [metric, { name, value }] of shown) {
      const help = escapeHelp(this.#help.get(name) ?? name);
      yield `# HELP ${metric} ${help}\n# TYPE ${metric} ${type}\n${metric} ${number(value)}\n`;
    }
  }

  #isFull(): boolean {
    return this.#counters.size + this.#gauges.size >= limits.metrics;
  }
}

function metricName(name: string, suffix: string): string {
  const body = name.replace(/([a-z0-9])([A-Z])/g, '$1_$2').replace(/[^A-Za-z0-9_]+/g, '_');
  const bare = body.toLowerCase().replace(/^_+|_+$/g, '');
  return `skein_${bare}${bare.endsWith(suffix) ? '' : suffix}`;
}

function number(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? '+Inf' : '-Inf';
  return String(value);
}

function escapeHelp(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}
