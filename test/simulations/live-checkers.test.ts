/** What live runs are judged by beside linearizability: each checker must find the fault that it is there for. */
import { describe, expect, it } from 'vitest';
import type { HistoryOperation } from '../../simulations/lib/quorum-history.ts';
import { type Holding, leaseViolations } from '../../simulations/live/holders.ts';
import { apart, oneWay, ring } from '../../simulations/live/network.ts';
import { type Watched, watchViolations } from '../../simulations/live/watchers.ts';

const holding = (holder: string, token: number, held: number, until: number): Holding => ({
  ...{ name: 'leader', holder, token },
  ...{ start: held - 1, held, until },
});

describe('checker of leases', () => {
  it('has no objection to holders one after the other, and to one that acquires again', () => {
    expect(
      leaseViolations([holding('a', 1, 10, 20), holding('a', 1, 15, 30), holding('b', 2, 31, 40)]),
    ).toEqual([]);
  });

  it.each<[string, Holding[], RegExp]>([
    ['two holders at once', [holding('a', 1, 10, 30), holding('b', 2, 20, 40)], /two holders/],
    ['one within another', [holding('a', 1, 10, 90), holding('b', 2, 20, 40)], /two holders/],
    ['a token that goes back', [holding('a', 2, 10, 20), holding('b', 1, 31, 40)], /lesser token/],
    ['a token for two', [holding('a', 1, 10, 20), holding('b', 1, 31, 40)], /was given to a and b/],
  ])('finds %s', (_, holdings, what) => {
    expect(leaseViolations(holdings).join('\n')).toMatch(what);
  });

  it('does not compare leases of different names', () => {
    expect(leaseViolations([holding('a', 2, 10, 30), { ...holding('b', 1, 20, 40), name: 'x' }])).toEqual([]);
  });
});

const put = (key: string, value: string, at: number): HistoryOperation => ({
  ...{ client: 1, kind: 'put', key, input: { value }, output: { at } },
  ...{ start: 0, end: 1, outcome: 'ok' },
});
const seen = (key: string, value: string, revision: number) => ({ key, value, revision });
const watched = (watcher: string, told: Watched['seen'], gaps: number[] = []): Watched => ({
  watcher,
  seen: told,
  gaps: gaps.map((at) => ({ at, why: '' })),
});

describe('checker of watches', () => {
  const [one, two, three] = [seen('k', 'a', 1), seen('k', 'b', 2), seen('k', 'c', 3)];

  it('has no objection to all in order, to a tail that is not told yet, and to a gap that was told of', () => {
    const all = watched('w', [one, two, three]);
    expect(watchViolations([all, watched('v', [one, two])], [put('k', 'b', 2)])).toEqual([]);
    expect(watchViolations([all, watched('v', [one, three], [1])], [])).toEqual([]);
  });

  it.each<[string, Watched[], HistoryOperation[], RegExp]>([
    ['one passed over', [watched('w', [one, three])], [put('k', 'b', 2)], /never told 1 revisions: 2/],
    ['one that another saw', [watched('w', [one, three]), watched('v', [one, two])], [], /w was never told/],
    ['one told twice', [watched('w', [one, one])], [], /revision 1 after 1/],
    ['the wrong order', [watched('w', [two, one])], [], /revision 1 after 2/],
    ['another content', [watched('w', [one])], [put('k', 'x', 1)], /revision 1 is k = a for w/],
    ['a deletion that was none', [watched('w', [{ key: 'k', revision: 1 }])], [put('k', 'x', 1)], /deletion/],
  ])('finds %s', (_, all, history, what) => {
    expect(watchViolations(all, history).join('\n')).toMatch(what);
  });
});

describe('cuts', () => {
  it('a side is cut off in both directions, a machine that is deaf or mute in one', () => {
    expect(apart(3, [0])).toEqual([
      [0, 1],
      [0, 2],
      [1, 0],
      [2, 0],
    ]);
    expect(oneWay(3, 0, 'deaf')).toEqual([
      [1, 0],
      [2, 0],
    ]);
    expect(oneWay(3, 0, 'mute')).toEqual([
      [0, 1],
      [0, 2],
    ]);
  });

  it.each([3, 4, 5, 7, 9])(
    'of %i machines in a ring each sees a majority, and another one (K22)',
    (count) => {
      const cuts = ring(count);
      const views = Array.from({ length: count }, (_, self) =>
        Array.from({ length: count }, (__, other) => other).filter(
          (other) => !cuts.some(([from, to]) => from === self && to === other),
        ),
      );
      for (const view of views) expect(view.length).toBeGreaterThan(count / 2);
      expect(new Set(views.map(String)).size).toBeGreaterThan(count === 3 ? 2 : count - 1);
    },
  );
});
