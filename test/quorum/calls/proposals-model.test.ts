/**
 * Calls under every fault that the way to a leader knows: lost, late and out of order, refused, taken into a log that
 * is cut off, forgotten by the store. Each is answered once, and takes effect as often as it was told (K29, K30, K40).
 */
import { describe, expect, it } from 'vitest';
import { limits } from '../../../src/kernel/limits.ts';
import { type Rng, seededRng } from '../../../src/kernel/rng.ts';
import type { Instant } from '../../../src/kernel/time.ts';
import { Proposals, portions, type Request } from '../../../src/quorum/calls/proposals.ts';
import { encodeCommand, type RequestHead } from '../../../src/quorum/register/command.ts';
import { Register } from '../../../src/quorum/register/register.ts';
import { put } from '../register/support.ts';

const CALLS = 60;
const END_MS = 12_000;

function at(monoMs: number): Instant {
  return { monoMs, wallMs: 0 };
}

function build(call: number) {
  return (head: RequestHead) =>
    encodeCommand({
      kind: 'transact',
      ...head,
      transaction: { compares: [], then: [put(`k${call}`, 'v')], otherwise: [] },
    });
}

class World {
  readonly #rng: Rng;
  #lastId = 100;
  #index = 0;
  nowMs = 0;
  /** Of few clients and answers, so that this node is forgotten now and then. */
  readonly register = new Register({ ...limits, quorumClients: 3, quorumClientRequests: 12 });
  readonly proposals = new Proposals(() => ++this.#lastId);
  readonly told = new Map<number, string[]>();
  readonly cancelled = new Set<number>();
  #wire: { readonly atMs: number; readonly request: Request }[] = [];
  /** In a leader's log, and not applied yet. */
  #log: Uint8Array[] = [];

  constructor(seed: number) {
    this.#rng = seededRng(seed);
  }

  tell(id: number, what: unknown): void {
    this.told.set(id, [...(this.told.get(id) ?? []), String(what)]);
  }

  step(): void {
    const rng = this.#rng;
    this.nowMs += 10;
    const now = at(this.nowMs);
    if (rng.chance(0.01)) {
      // A leader is gone, and what it had not spread; the next one is asked anew.
      this.#log = this.#log.slice(0, rng.below(this.#log.length + 1));
      if (rng.chance(0.5)) this.#wire = [];
      this.proposals.resendAll();
    }
    // Only who is silent is forgotten: nothing of this node is on its way then.
    if (this.#wire.length + this.#log.length === 0 && rng.chance(0.1)) this.#openOthers();
    if (rng.chance(0.2)) this.proposals.wake();
    if (this.proposals.deadline !== undefined && rng.chance(0.8)) this.#send(this.proposals.takeDue(now));
    this.#arrive();
    if (rng.chance(0.3)) this.#apply();
    for (const { id, error } of this.proposals.takeLate(now, () => ({ what: 'late', details: {} })))
      this.tell(id, error.details?.outcome);
  }

  #send(requests: readonly Request[]): void {
    const delay = () => this.#rng.below(this.#rng.chance(0.1) ? 2_000 : 50);
    for (const request of requests)
      if (!this.#rng.chance(0.1)) this.#wire.push({ atMs: this.nowMs + delay(), request });
  }

  #arrive(): void {
    const due = this.#wire.filter(({ atMs }) => atMs <= this.nowMs).sort((a, b) => a.atMs - b.atMs);
    this.#wire = this.#wire.filter(({ atMs }) => atMs > this.nowMs);
    for (const { request } of due) {
      if (request.sequence > 0 && this.#rng.chance(0.1))
        this.proposals.refusedElsewhere(request.sequence, this.#rng.chance(0.5), at(this.nowMs));
      else this.#log.push(request.command);
    }
  }

  #openOthers(): void {
    for (let count = 0; count < 3; count++)
      this.#log.push(encodeCommand({ kind: 'openClient', client: 1_000_000 + this.#rng.below(1_000_000) }));
  }

  #apply(): void {
    const log = this.#log;
    this.#log = [];
    for (const command of log) {
      const { result, client, sequence } = this.register.apply(++this.#index, command);
      const now = at(this.nowMs);
      if (result.kind === 'refused') {
        if (result.why === 'unknownClient')
          for (const { id, error } of this.proposals.clientUnknown(client, sequence, now))
            this.tell(id, error.details?.outcome);
        else if (result.why === 'busy') this.proposals.busy(client, sequence, now);
      } else if (client !== 0 && sequence === 0) this.proposals.clientOpened(client);
      else if (client !== 0) {
        const id = this.proposals.applied(client, sequence);
        if (id !== undefined) this.tell(id, result.kind === 'transacted' ? 'done' : result.kind);
      }
    }
  }

  /** What is on its way yet arrives, and takes effect where it still can. */
  drain(): void {
    for (let count = 0; count < 500; count++) {
      this.nowMs += 10;
      this.#arrive();
      this.#apply();
    }
  }

  versionOf(call: number): number {
    return this.register.get(`k${call}`)?.version ?? 0;
  }
}

function run(seed: number): World {
  const world = new World(seed);
  const rng = seededRng(seed + 1_000_000);
  for (let call = 1; call <= CALLS; ) {
    if (rng.chance(0.1)) world.proposals.submit(call, build(call++), at(world.nowMs));
    if (rng.chance(0.003) && call > 1) {
      const id = 1 + rng.below(call - 1);
      world.cancelled.add(id);
      world.proposals.cancel(id);
    }
    world.step();
  }
  while (world.nowMs < END_MS) world.step();
  world.drain();
  return world;
}

describe('proposals under faults', () => {
  it('each call is answered once, and takes effect as it was told (100 seeds, 60 calls)', () => {
    const outcomes = new Map<string, number>();
    for (let seed = 0; seed < 100; seed++) {
      const world = run(seed);
      expect(world.proposals.size).toBe(0);
      for (let call = 1; call <= CALLS; call++) {
        const told = world.told.get(call) ?? [];
        const where = `seed ${seed}, call ${call}: ${told}`;
        if (!world.cancelled.has(call)) expect(told, where).toHaveLength(1);
        expect(told.length, where).toBeLessThan(2);
        const version = world.versionOf(call);
        expect(version, where).toBeLessThan(2);
        if (told[0] === 'done') expect(version, where).toBe(1);
        if (told[0] === 'not-done') expect(version, where).toBe(0);
        outcomes.set(told[0] ?? 'cancelled', (outcomes.get(told[0] ?? 'cancelled') ?? 0) + 1);
      }
    }
    expect([...outcomes.keys()].sort()).toEqual(['cancelled', 'done', 'unknown']);
    expect(outcomes.get('done')).toBeGreaterThan(0.6 * 100 * CALLS);
  });

  it.each([
    [1, []],
    [2, ['unknown']],
  ])(
    'a forgotten client whose opening was sent %i times, one of them lost to sight: calls are told %j',
    (opens, told) => {
      const proposals = new Proposals(() => 1);
      proposals.submit(1, build(1), at(0));
      proposals.takeDue(at(0));
      if (opens === 2) {
        proposals.resendAll();
        proposals.takeDue(at(1));
      }
      proposals.clientOpened(1);
      proposals.applied(1, 1);
      proposals.submit(2, build(2), at(10));
      proposals.takeDue(at(10));
      const unanswered = proposals.clientUnknown(1, 2, at(20));
      expect(unanswered.map(({ error }) => error.details?.outcome)).toEqual(told);
    },
  );

  it.each([
    [true, 'takes effect in the next store where the one before was empty', [1, 2], []],
    [false, 'is not sent to the next store if it may have taken effect in the one before', [2], ['unknown']],
  ])('what was sent (no effect: %s) %s', (tookNoEffect, _, again, told) => {
    const proposals = new Proposals(
      (
        (id) => () =>
          ++id
      )(0),
    );
    proposals.submit(1, build(1), at(0));
    proposals.takeDue(at(0));
    proposals.submit(2, build(2), at(1));
    const unanswered = proposals.restart(tookNoEffect);
    expect(unanswered.map(({ error }) => error.details?.outcome)).toEqual(told);
    const sent = proposals.takeDue(at(2)).filter(({ sequence }) => sequence > 0);
    const register = new Register();
    register.apply(1, encodeCommand({ kind: 'openClient', client: 2 }));
    for (const [index, { command }] of sent.entries()) register.apply(index + 2, command);
    expect([1, 2].filter((call) => register.get(`k${call}`) !== undefined)).toEqual(again);
  });

  it('a call that was never sent is told not to be done, at its time', () => {
    const proposals = new Proposals(() => 1);
    proposals.submit(1, build(1), at(0));
    const why = () => ({ what: 'nobody leads', details: { missing: ['x'] } });
    expect(proposals.takeLate(at(limits.quorumWaitMs / 2), why)).toEqual([]);
    expect(proposals.takeLate(at(limits.quorumWaitMs), why)).toMatchObject([
      { id: 1, error: { code: 'QUORUM_UNAVAILABLE', details: { outcome: 'not-done', missing: ['x'] } } },
    ]);
  });

  it('frames to a leader hold at most 512 KiB, but for a single larger command, and keep the order', () => {
    const rng = seededRng(1);
    const requests = Array.from({ length: 200 }, (_, sequence) => ({
      sequence,
      command: new Uint8Array(rng.chance(0.05) ? 700_000 : rng.below(50_000)),
    }));
    const parts = [...portions(requests)];
    expect(parts.flat()).toEqual(requests);
    for (const part of parts) {
      const bytes = part.reduce((sum, { command }) => sum + command.length, 0);
      expect(part.length === 1 || bytes <= 512 * 1024).toBe(true);
    }
  });
});
