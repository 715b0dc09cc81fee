/** Whole nodes that all write one key over what they read: nobody is left behind. */
import { describe, expect, it } from 'vitest';
import type { SimulatedMachine } from '../../simulations/lib/machine.ts';
import { fromUtf8, utf8 } from '../../src/kernel/codec.ts';
import type { KeyValue, RangeAnswer, TransactionAnswer } from '../../src/quorum/port.ts';
import { ask, clusterOf, put, until, votersOf } from './clusters.ts';

const KEY = 'counter';
const FOR_MS = 4_000;

/** Adds one as often as it can; how long each took. */
class Counter {
  readonly tookMs: number[] = [];
  readonly #machine: SimulatedMachine;
  readonly #nowMs: () => number;
  #isEnded = false;

  constructor(machine: SimulatedMachine, nowMs: () => number) {
    this.#machine = machine;
    this.#nowMs = nowMs;
    this.#next();
  }

  end(): void {
    this.#isEnded = true;
  }

  #next(): void {
    if (this.#isEnded) return;
    const sinceMs = this.#nowMs();
    this.#machine.askQuorum({ op: 'get', key: KEY }, (result) => {
      if (!result.ok) throw new Error(result.error.message);
      this.#try((result.value as RangeAnswer).found[0] as KeyValue, sinceMs);
    });
  }

  #try({ value, modRevision }: KeyValue, sinceMs: number): void {
    const next = utf8(String(Number(fromUtf8(value)) + 1));
    const transaction = {
      compares: [{ target: 'modRevision', key: KEY, is: '=', than: modRevision }],
      then: [{ op: 'put', key: KEY, value: next }],
      otherwise: [{ op: 'get', key: KEY }],
    } as const;
    this.#machine.askQuorum({ op: 'transact', transaction }, (result) => {
      if (!result.ok) throw new Error(result.error.message);
      const { succeeded, answers } = result.value as TransactionAnswer;
      if (succeeded) {
        this.tookMs.push(this.#nowMs() - sinceMs);
        this.#next();
      } else this.#try((answers[0] as { found: KeyValue }).found, sinceMs);
    });
  }
}

describe('quorum store: one key that all write over what they read', () => {
  it.each([1, 2, 3])('every node gets its turn, and nothing is lost (n=3, seed %i)', (seed) => {
    const cluster = clusterOf(3, seed);
    const { machines } = cluster;
    cluster.startAll();
    until(cluster, 20_000, () => machines.every((machine) => votersOf(machine) === 3));
    ask(cluster, machines[0] as SimulatedMachine, put(KEY, '0'));
    const counters = machines.map((machine) => new Counter(machine, () => cluster.nowMs));
    cluster.scheduler.runUntil(cluster.nowMs + FOR_MS);
    for (const counter of counters) counter.end();
    cluster.scheduler.runUntil(cluster.nowMs + 1_000);
    const done = counters.map(({ tookMs }) => tookMs.length);
    const all = done.reduce((sum, count) => sum + count, 0);
    const found = ask<RangeAnswer>(cluster, machines[1] as SimulatedMachine, { op: 'get', key: KEY });
    expect(found).toMatchObject({ ok: true, value: { found: [{ value: utf8(String(all)) }] } });
    expect(all).toBeGreaterThan(100);
    // Without turns the leader's node makes more than nine of ten.
    for (const count of done) expect(count / all).toBeGreaterThan(0.2);
    const average = FOR_MS / (all / 3);
    for (const { tookMs } of counters) expect(Math.max(...tookMs)).toBeLessThan(3 * average);
    expect(cluster.violations).toEqual([]);
  });
});
