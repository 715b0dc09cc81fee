import { describe, expect, it } from 'vitest';
import type { NodeId } from '../../src/kernel/ids.ts';
import type { QuorumView } from '../../src/mesh/view.ts';
import { etcdProblems, quorumProblems } from '../../src/node/quorum-problems.ts';
import type { QuorumStatus } from '../../src/quorum/status.ts';

type Given = Parameters<typeof quorumProblems>[0];
const ids = (count: number) => Array.from({ length: count }, (_, at) => `node-${at}` as NodeId);
const SETTLED = { upForMs: 60_000, foundAfterMs: 3_000 };

function statusWith(given: Partial<Given>): QuorumStatus {
  const format: Given['format'] = { store: 1, newest: 1, tooOld: [] };
  return { store: 'here', hasData: true, missing: [], others: [], format, ...given } as QuorumStatus;
}

function viewOf(voters: readonly NodeId[], missing: readonly NodeId[]): QuorumView {
  return {
    engine: 'embedded',
    voters: voters.map((nodeId) => ({ nodeId, name: `${nodeId}.example`, role: 'voter', state: 'alive' })),
    missing,
  };
}

const codes = (status: QuorumStatus, view = viewOf(ids(3), []), times = SETTLED) =>
  quorumProblems(status, view, times).map(({ code }) => code);

describe('problems of the quorum store', () => {
  it('none, where all voters are there', () => {
    expect(codes(statusWith({}))).toEqual([]);
  });

  it.each([
    [3, 1, 'VOTERS_MISSING'],
    [3, 2, 'QUORUM_LOST'],
    [2, 1, 'QUORUM_LOST'],
    [4, 2, 'QUORUM_LOST'],
    [5, 2, 'VOTERS_MISSING'],
    [5, 3, 'QUORUM_LOST'],
    [1, 1, 'QUORUM_LOST'],
  ])('of %i voters %i out of reach: %s, by name', (voters, away, code) => {
    const missing = ids(voters).slice(0, away);
    const problems = quorumProblems(statusWith({ missing }), viewOf(ids(voters), missing), SETTLED);
    expect(problems.map((problem) => problem.code)).toEqual([code]);
    expect(problems[0]?.message).toContain(`${away} of ${voters} voters`);
    expect(problems[0]?.message).toContain('node-0.example');
  });

  it('no store is news only once there was time to look around', () => {
    const without = statusWith({ store: undefined });
    expect(codes(without, viewOf([], []), { ...SETTLED, upForMs: 17_999 })).toEqual([]);
    expect(codes(without, viewOf([], []), { ...SETTLED, upForMs: 18_000 })).toEqual(['NO_QUORUM_STORE']);
  });

  it.each([
    [true, true, ['TWO_QUORUM_STORES']],
    [true, false, []],
    [false, true, []],
  ])('a store that was met, data here %s and there %s: %j', (hasData, theirs, expected) => {
    const others = [{ store: 'there', hasData: theirs, nodes: ids(1) }] as unknown as Given['others'];
    expect(codes(statusWith({ hasData, others }))).toEqual(expected);
  });

  it('etcd that does not serve is told with its reason', () => {
    expect(etcdProblems(undefined)).toEqual([]);
    expect(etcdProblems('nobody home')).toMatchObject([
      { code: 'ETCD_UNREACHABLE', message: expect.stringContaining('nobody home') },
    ]);
  });
});
