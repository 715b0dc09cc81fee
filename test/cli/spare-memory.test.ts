import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type Process, spareMemory, thisProcess } from '../../src/cli/spare-memory.ts';

const MB = 1024 * 1024;

describe('memory at rest', () => {
  let collections: number;
  let looked: number;
  let state: { busy: number; resident: number; heap: number; after: number };
  let end: () => void;
  beforeEach(() => {
    vi.useFakeTimers();
    collections = 0;
    looked = 0;
    state = { busy: 0.01, resident: 160, heap: 60, after: 110 };
    const process: Process = {
      busy: () => {
        looked++;
        return state.busy;
      },
      residentBytes: () => state.resident * MB,
      heapBytes: () => state.heap * MB,
      collect: () => {
        collections++;
        state.resident = state.after;
      },
    };
    end = spareMemory(process);
  });
  afterEach(() => {
    end();
    vi.useRealTimers();
  });
  const pass = (seconds: number) => vi.advanceTimersByTime(seconds * 1000);

  it('is given back within 5 s of rest, once', () => {
    pass(5);
    expect(collections).toBe(1);
    pass(3600);
    expect(collections).toBe(1);
  });

  it('is given back again when a burst of calls has taken 8 MB and is over', () => {
    pass(5);
    state = { ...state, busy: 0.6, resident: 150 };
    pass(60);
    expect(collections).toBe(1);
    state.busy = 0.01;
    pass(5);
    expect(collections).toBe(2);
  });

  it('is given back within 20 s of a burst so short that no look saw it', () => {
    pass(60);
    state.resident = 150;
    pass(20);
    expect(collections).toBe(2);
  });

  it('is looked at 5 times a minute at most while there is nothing to give back', () => {
    pass(60);
    looked = 0;
    pass(600);
    expect(looked).toBeGreaterThan(0);
    expect(looked).toBeLessThanOrEqual(50);
  });

  it.each([
    { while: 'the event loop is busy', change: { busy: 0.2 } },
    { while: 'the heap is so large that the pause would be felt', change: { heap: 200 } },
  ])('is left alone while $while', ({ change }) => {
    state = { ...state, ...change };
    pass(3600);
    expect(collections).toBe(0);
  });

  it('is left alone where a collection has shown that there is nothing to give back', () => {
    state.after = 160;
    pass(3600);
    expect(collections).toBe(1);
  });

  it('of this very process is freed by its collection', () => {
    const held = new WeakRef(new Array(1_000_000).fill(0));
    // What a weak reference has shown stays until the turn ends: nothing here may look at it before.
    thisProcess().collect();
    vi.useRealTimers();
    return new Promise<void>((resolve) => setImmediate(resolve)).then(() => {
      thisProcess().collect();
      expect(held.deref()).toBeUndefined();
    });
  });
});
