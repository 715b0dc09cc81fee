import { describe, expect, it } from 'vitest';
import { Parking } from '../../src/blackboard/parking.ts';
import { Places } from '../../src/blackboard/places.ts';
import type { AgentId, BoardName } from '../../src/kernel/ids.ts';
import { limits } from '../../src/kernel/limits.ts';

describe('places for calls that wait', () => {
  it(`one caller gets ${limits.waitersPerCaller} of the ${limits.waiters}, and others still find one`, () => {
    const places = new Places();
    for (let count = 0; count < limits.waitersPerCaller; count++) expect(places.take('greedy')).toBe(true);
    expect(places.take('greedy')).toBe(false);
    expect(places.take('modest')).toBe(true);
    places.give('greedy');
    expect(places.take('greedy')).toBe(true);
    for (let caller = 0; caller < limits.waiters; caller++) places.take(`other-${caller}`);
    expect(places.take('late')).toBe(false);
    places.give('modest');
    expect(places.take('late')).toBe(true);
  });

  it('parked calls are found by their board, give up in order, and leave their place', () => {
    const places = new Places();
    const parking = new Parking(places);
    const writer = { agent: 'one' as AgentId };
    const park = (id: number, name: string, deadlineMs: number) => {
      const call = { op: 'read', board: name as BoardName, key: 'k' } as const;
      return parking.add({ id, call, writer, session: undefined, deadlineMs });
    };
    for (let id = 0; id < limits.waitersPerCaller; id++)
      expect(park(id, id % 2 === 0 ? 'even' : 'odd', 5_000 - id)).toBe(true);
    expect(park(-1, 'even', 1)).toBe(false);
    expect(parking.of('odd' as BoardName).length).toBe(limits.waitersPerCaller / 2);
    expect(parking.deadlineMs).toBe(5_001 - limits.waitersPerCaller);
    parking.delete(limits.waitersPerCaller - 1);
    expect(parking.takeDue(5_002 - limits.waitersPerCaller).map(({ id }) => id)).toEqual([
      limits.waitersPerCaller - 2,
    ]);
    expect(park(-1, 'even', 1)).toBe(true);
    expect(parking.of('none' as BoardName)).toEqual([]);
    expect(parking.takeDue(Number.POSITIVE_INFINITY).length).toBe(limits.waitersPerCaller - 1);
    expect(parking.size).toBe(0);
    expect(places.take('one')).toBe(true);
  });
});
