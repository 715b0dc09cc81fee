import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { toHex, utf8 } from '../../src/kernel/codec.ts';
import { seededRng } from '../../src/kernel/rng.ts';
import { nodeIdFromPublicKey } from '../../src/mesh/identity/peer-id.ts';
import { MachineTime, SimulatedClock } from '../../src/sim/clock.ts';
import { SimulatedCryptography } from '../../src/sim/cryptography.ts';
import { SimulatedProcess } from '../../src/sim/process.ts';
import { Scheduler } from '../../src/sim/scheduler.ts';
import { Trace } from '../../src/sim/trace.ts';

describe('scheduler', () => {
  it('calls back in the order of time, then of asking, whatever the order of asking (property)', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(20), { maxLength: 60 }), (times) => {
        const scheduler = new Scheduler();
        const seen: [number, number][] = [];
        times.forEach((atMs, index) => {
          scheduler.at(atMs, () => seen.push([scheduler.nowMs, index]));
        });
        scheduler.runUntil(100);
        const expected = times
          .map((atMs, index): [number, number] => [atMs, index])
          .sort((left, right) => left[0] - right[0] || left[1] - right[1]);
        expect(seen).toEqual(expected);
      }),
      { seed: 3 },
    );
  });

  it('what is cancelled does not happen, also when it is cancelled at its own time', () => {
    const scheduler = new Scheduler();
    const seen: string[] = [];
    const cancel = scheduler.at(5, () => seen.push('cancelled'));
    scheduler.at(4, () => cancel());
    const cancelLate = scheduler.at(5, () => seen.push('late'));
    scheduler.at(5, () => seen.push('kept'));
    scheduler.at(3, () => scheduler.at(5, () => cancelLate()));
    scheduler.runUntil(10);
    expect(seen).toEqual(['late', 'kept']);
    expect(scheduler.nowMs).toBe(10);
  });
});

function clockWith(rate: number) {
  const scheduler = new Scheduler();
  const process = new SimulatedProcess();
  scheduler.runUntil(1_000);
  const time = new MachineTime(scheduler);
  time.setRate(rate);
  return { scheduler, process, time, clock: new SimulatedClock(scheduler, process, time) };
}

describe('simulated clock', () => {
  for (const rate of [0.9, 1, 1.000_1, 2]) {
    it(`a timer is never early by its own clock (rate=${rate})`, () => {
      const { scheduler, clock } = clockWith(rate);
      const rings: number[] = [];
      for (const atMs of [0, 1, 33.3, 1_000, 12_345.678])
        clock.callAt(atMs, () => rings.push(clock.now().monoMs - atMs));
      scheduler.runUntil(100_000);
      expect(rings.length).toBe(5);
      for (const lateMs of rings) expect(lateMs).toBeGreaterThanOrEqual(0);
      for (const lateMs of rings) expect(lateMs).toBeLessThan(0.01);
    });
  }

  it('drift moves both clocks, a step the wall clock only', () => {
    const { scheduler, time, clock } = clockWith(1);
    const start = clock.now();
    time.setRate(2);
    scheduler.runUntil(2_000);
    time.setRate(1);
    scheduler.runUntil(3_000);
    expect(clock.now().monoMs - start.monoMs).toBe(3_000);
    time.step(-3_600_000);
    expect(clock.now().monoMs - start.monoMs).toBe(3_000);
    expect(clock.now().wallMs - start.wallMs).toBe(3_000 - 3_600_000);
    time.correct();
    expect(clock.now().wallMs - start.wallMs).toBe(2_000);
  });

  it('timers of a paused process ring late, of a dead one never', () => {
    const { scheduler, process, clock } = clockWith(1);
    const rings: number[] = [];
    clock.callAt(10, () => rings.push(clock.now().monoMs));
    process.pause();
    scheduler.runUntil(1_500);
    expect(rings).toEqual([]);
    process.resume();
    expect(rings).toEqual([500]);
    clock.callAt(600, () => rings.push(0));
    process.kill();
    scheduler.runUntil(5_000);
    expect(rings).toEqual([500]);
  });
});

describe('simulated cryptography', () => {
  it('a signature passes under the key that made it, over the message that was signed, and not otherwise', () => {
    const cryptography = new SimulatedCryptography(seededRng(1), nodeIdFromPublicKey);
    const [alice, bob] = [cryptography.makeSigner(), cryptography.makeSigner()];
    const signature = alice.sign(utf8('message'));
    expect(signature.length).toBe(64);
    expect(cryptography.verifyNode(alice.nodeId, utf8('message'), signature)).toBe(true);
    expect(cryptography.verify(alice.publicKey, utf8('message'), signature)).toBe(true);
    expect(cryptography.verifyNode(bob.nodeId, utf8('message'), signature)).toBe(false);
    expect(cryptography.verifyNode(alice.nodeId, utf8('massage'), signature)).toBe(false);
    expect(cryptography.verifyNode(alice.nodeId, utf8('message'), signature.subarray(1))).toBe(false);
    for (let at = 0; at < 64; at++) {
      const changed = signature.slice();
      changed[at] = (changed[at] as number) ^ 1;
      expect(cryptography.verifyNode(alice.nodeId, utf8('message'), changed)).toBe(false);
    }
  });

  it('100,000 similar inputs have 100,000 hashes, spread over all bits', () => {
    const cryptography = new SimulatedCryptography(seededRng(1), nodeIdFromPublicKey);
    const seen = new Set<string>();
    const ones = new Uint32Array(256);
    const input = new Uint8Array(24);
    const view = new DataView(input.buffer);
    for (let number = 0; number < 100_000; number++) {
      view.setUint32((number % 6) * 4, number);
      const hash = cryptography.hash(input);
      seen.add(toHex(hash.subarray(0, 16)));
      if (number % 10 === 0)
        for (let bit = 0; bit < 256; bit++)
          ones[bit] = (ones[bit] as number) + (((hash[bit >> 3] as number) >> (bit & 7)) & 1);
    }
    expect(seen.size).toBe(100_000);
    for (const count of ones) expect(Math.abs(count - 5_000)).toBeLessThan(350);
  });
});

describe('trace', () => {
  const hashOf = (...notes: [string, unknown][]) => {
    const trace = new Trace();
    for (const [name, data] of notes) trace.note(1, name, data);
    return trace.hash();
  };

  it('any difference in what happened, or in its order, is another hash', () => {
    const base = hashOf(
      ['a', { x: 1, bytes: new Uint8Array([1, 2, 3, 4, 5]) }],
      ['b', [1, 'two', null, undefined]],
    );
    expect(base).toMatch(/^[0-9a-f]{16}$/);
    expect(
      hashOf(['a', { x: 1, bytes: new Uint8Array([1, 2, 3, 4, 5]) }], ['b', [1, 'two', null, undefined]]),
    ).toBe(base);
    const others = [
      hashOf(['b', [1, 'two', null, undefined]], ['a', { x: 1, bytes: new Uint8Array([1, 2, 3, 4, 5]) }]),
      hashOf(['a', { x: 1, bytes: new Uint8Array([1, 2, 3, 4, 6]) }], ['b', [1, 'two', null, undefined]]),
      hashOf(['a', { x: 1.5, bytes: new Uint8Array([1, 2, 3, 4, 5]) }], ['b', [1, 'two', null, undefined]]),
      hashOf(['a', { y: 1, bytes: new Uint8Array([1, 2, 3, 4, 5]) }], ['b', [1, 'two', null, undefined]]),
    ];
    expect(new Set([base, ...others]).size).toBe(5);
  });

  it('keeps the last notes as text', () => {
    const trace = new Trace(3);
    for (let index = 0; index < 20; index++)
      trace.note(index, `event ${index}`, { bytes: new Uint8Array(4) });
    expect(trace.last()).toEqual(
      [17, 18, 19].map((index) => `${index}.000 event ${index} {"bytes":"<4 bytes>"}`),
    );
  });
});
