/** Whole nodes that all write one key over what they read: nobody is left behind. */
import { describe, expect, it } from 'vitest';
import type { SimulatedMachine } from '../../simulations/lib/machine.ts';
import { QuorumWorld } from '../../simulations/quorum/world.ts';
import { fromUtf8, utf8 } from '../../src/kernel/codec.ts';
import type { Result } from '../../src/kernel/errors.ts';
import { RAFT_CONFIG } from '../../src/node/quorum-config.ts';
import type { QuorumCall } from '../../src/quorum/messages.ts';
import type { KeyValue, RangeAnswer, TransactionAnswer } from '../../src/quorum/port.ts';
import { ask, clusterOf, put, until, votersOf } from './clusters.ts';

const KEY = 'counter';
const FOR_MS = 4_000;

type Ask = (call: QuorumCall, onAnswer: (result: Result<unknown>) => void) => void;

/** Adds one as often as it can; how long each took. */
class Counter {
  readonly tookMs: number[] = [];
  readonly #ask: Ask;
  readonly #nowMs: () => number;
  readonly #mirror: (() => KeyValue | undefined) | undefined;
  #isEnded = false;

  /** `mirror`: begins with what the member at hand has, not with a strong read. */
  constructor(how: Ask, nowMs: () => number, mirror?: () => KeyValue | undefined) {
    this.#ask = how;
    this.#nowMs = nowMs;
    this.#mirror = mirror;
    this.#next();
  }

  end(): void {
    this.#isEnded = true;
  }

  #next(): void {
    if (this.#isEnded) return;
    const sinceMs = this.#nowMs();
    const known = this.#mirror?.();
    if (known !== undefined) {
      this.#try(known, sinceMs);
      return;
    }
    this.#ask({ op: 'get', key: KEY }, (result) => {
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
    this.#ask({ op: 'transact', transaction }, (result) => {
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
    const counters = machines.map(
      (machine) =>
        new Counter(
          (call, onAnswer) => machine.askQuorum(call, onAnswer),
          () => cluster.nowMs,
        ),
    );
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

  it.each([
    [10, 0.1],
    [1, 0.1],
  ])(
    'a turn costs one sync and four ways, at the leader two, and nobody waits for more than two others (n=3, sync %d ms, way %d ms)',
    (syncMs, wayMs) => {
      const { world, counters } = alwaysBusy(syncMs, wayMs);
      world.scheduler.runUntil(world.nowMs + 50 * syncMs);
      const before = counters.map(({ tookMs }) => tookMs.length);
      const forMs = 500 * syncMs;
      world.scheduler.runUntil(world.nowMs + forMs);
      const took = counters.map(({ tookMs }, index) => tookMs.slice(before[index]));
      const turnMs = syncMs + ((2 + 4 + 4) / 3) * wayMs;
      expect(forMs / took.flat().length).toBeLessThan(1.05 * turnMs);
      for (const ms of took.flat()) expect(ms).toBeLessThan(1.05 * 3 * turnMs);
      expect(world.violations).toEqual([]);
    },
  );

  it.each([
    [10, 0.1],
    [1, 0.1],
    [0.5, 0.2],
  ])('a turn takes eight frames between all members (n=3, sync %d ms, way %d ms)', (syncMs, wayMs) => {
    const { world, counters } = alwaysBusy(syncMs, wayMs, true);
    const done = () => counters.reduce((sum, { tookMs }) => sum + tookMs.length, 0);
    world.scheduler.runUntil(world.nowMs + 50 * syncMs);
    let frames = 0;
    world.onEffect.push((_, effect) => {
      if (effect.kind === 'send') frames += effect.to.length;
    });
    const before = done();
    world.scheduler.runUntil(world.nowMs + 200 * syncMs);
    expect(done() - before).toBeGreaterThan(50);
    expect(frames / (done() - before)).toBeLessThan(8.4);
  });
});

/** Three members whose disks and ways always take the same time, each with a client that adds one without pause. */
function alwaysBusy(syncMs: number, wayMs: number, isByMirror = false) {
  const world = new QuorumWorld({
    seed: 1,
    nodes: 3,
    breakAfterMs: 5_000,
    maxDelayMs: wayMs,
    configOf: ({ index }) => ({
      mayFound: index === 0,
      foundAfterMs: 200,
      mayVote: true,
      voters: { target: 3, stableMs: 200, replaceAfterMs: 60_000 },
      raft: RAFT_CONFIG,
    }),
  });
  world.conditions.minDelayMs = wayMs;
  for (const machine of world.machines) {
    Object.assign(machine.diskConditions, { minSyncMs: syncMs, maxSyncMs: syncMs });
    machine.start();
  }
  const isReady = (isDone: () => boolean) =>
    expect(world.scheduler.runUntilTrue(isDone, world.nowMs + 20_000)).toBe(true);
  isReady(() =>
    world.machines.every(({ quorum }) => quorum?.replica?.raft.configuration.incoming.length === 3),
  );
  let isWritten = false;
  world.machine(0).call(put(KEY, '0'), () => {
    isWritten = true;
  });
  isReady(() => isWritten);
  const counters = world.machines.map(
    (machine) =>
      new Counter(
        (call, onAnswer) => void machine.call(call, onAnswer),
        () => world.nowMs,
        isByMirror ? () => machine.quorum?.register.get(KEY) : undefined,
      ),
  );
  return { world, counters };
}
