import { describe, expect, it } from 'vitest';
import type { Board } from '../../src/blackboard/board.ts';
import { ExpiryQueue } from '../../src/blackboard/expiry.ts';
import type { Item } from '../../src/blackboard/lane.ts';

const board = {} as Board;

function item(expiresMs: number): Item {
  return { expiresMs, dead: false } as Item;
}

describe('items with a time to live', () => {
  it('come in the order in which they expire', () => {
    const queue = new ExpiryQueue();
    for (const expiresMs of [5, 1, 4, 2, 3]) queue.add(board, item(expiresMs));
    const taken = Array.from({ length: 5 }, () => queue.take(10)?.item.expiresMs);
    expect(taken).toEqual([1, 2, 3, 4, 5]);
    expect(queue.take(10)).toBeUndefined();
  });

  it('are queued once, however often they are noticed, and again once they were taken', () => {
    const queue = new ExpiryQueue();
    const log = item(100);
    for (let count = 0; count < 100_000; count++) queue.add(board, log);
    expect(queue.size).toBe(1);
    expect(queue.take(100)?.item).toBe(log);
    queue.add(board, log);
    expect(queue.size).toBe(1);
  });

  it('that are overwritten again and again take room for the living, not for each of them', () => {
    const queue = new ExpiryQueue();
    let last = item(1_000);
    for (let count = 0; count < 100_000; count++) {
      last.dead = true;
      last = item(1_000 + count);
      queue.add(board, last);
    }
    expect(queue.size).toBeLessThan(2_048);
    last.dead = false;
  });
});
