/** What a log may forget (5.1). */
import { describe, expect, it } from 'vitest';
import { brief, logOf, of, Solo } from './solo.ts';

describe('raft: compaction', () => {
  it('K31, K41: what is committed elsewhere and not on this disk stays, to be written again after a failure', () => {
    const solo = new Solo({ term: 1, config: { tailEntries: 0 } });
    solo.append('b', 1, [0, 0], logOf(1, 1, 1));
    solo.sync();
    solo.append('b', 1, [3, 1], logOf(1, 1, 1, 1, 1, 1).slice(3), 6, 2);
    expect(solo.raft.commitIndex).toBe(6);
    solo.tell({ kind: 'snapshotted', index: 6 });
    expect(solo.raft.firstIndex).toBe(4);
    solo.tell({ kind: 'diskFailed' });
    const recovered = solo.tell({ kind: 'diskRecovered' });
    expect(of(recovered, 'persistEntries').map(({ entries }) => brief(entries))).toEqual(['4@1 5@1 6@1']);
    solo.sync();
    solo.tell({ kind: 'snapshotted', index: 6 });
    expect(solo.raft.firstIndex).toBe(7);
  });
});
