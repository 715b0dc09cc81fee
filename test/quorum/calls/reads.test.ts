/** Strong reads of one node, between the proof of an index and its own copy. */
import { describe, expect, it } from 'vitest';
import type { Instant } from '../../../src/kernel/time.ts';
import { Reads } from '../../../src/quorum/calls/reads.ts';

const at = (monoMs: number): Instant => ({ monoMs, wallMs: 0 });
const get = { op: 'get', key: 'k' } as const;

describe('reads', () => {
  it('one is answered once the copy has applied what proves it new enough', () => {
    const reads = new Reads();
    reads.ready(reads.add(1, get, at(0)), 7);
    expect(reads.takeReady(6)).toEqual([]);
    expect(reads.takeReady(7)).toMatchObject([{ id: 1 }]);
    expect(reads.size).toBe(0);
  });

  it('one that was proved in a store that went is not answered by the next before that proved it too', () => {
    const reads = new Reads();
    const token = reads.add(1, get, at(0));
    reads.ready(token, 7);
    reads.restart(at(10));
    expect(reads.takeReady(1_000)).toEqual([]);
    expect(reads.takeAgain(at(10))).toEqual([token]);
    reads.ready(token, 2_000);
    expect(reads.takeReady(1_999)).toEqual([]);
    expect(reads.takeReady(2_000)).toMatchObject([{ id: 1 }]);
  });

  it('what a transaction reads that came too late waits for the copy, and comes back where its store went', () => {
    const reads = new Reads();
    const otherwise = { op: 'otherwise', operations: [get] } as const;
    reads.addProved(1, otherwise, 7, 1_700);
    reads.addProved(2, otherwise, 8, 1_700);
    expect(reads.takeReady(7)).toMatchObject([{ id: 1 }]);
    expect(reads.restart(at(10))).toMatchObject([{ id: 2 }]);
    expect(reads.size).toBe(0);
  });

  it('what a transaction reads that came too late waits no longer than the transaction would have (1.7 s in all)', () => {
    const reads = new Reads();
    reads.add(1, get, at(1_000));
    reads.addProved(2, { op: 'otherwise', operations: [get] }, 8, 1_700);
    expect(reads.takeAgain(at(1_699))).toEqual([1]);
    expect(reads.takeLate(at(1_699))).toEqual([]);
    expect(reads.takeLate(at(1_700))).toMatchObject([{ id: 2 }]);
    expect(reads.takeReady(8)).toEqual([]);
    expect(reads.size).toBe(1);
  });

  it('one that nobody answers is asked again, and given up when its time is up', () => {
    const reads = new Reads();
    const token = reads.add(1, get, at(0));
    expect(reads.takeAgain(at(100))).toEqual([]);
    expect(reads.takeAgain(at(400))).toEqual([token]);
    expect(reads.takeLate(at(1_000))).toEqual([]);
    expect(reads.takeLate(at(1_800))).toMatchObject([{ id: 1 }]);
    expect(reads.size).toBe(0);
  });
});
