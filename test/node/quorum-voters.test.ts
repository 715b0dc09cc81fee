/** What a person may want of voters, and what is refused because nothing could come of it. */
import { describe, expect, it } from 'vitest';
import { ok } from '../../src/kernel/errors.ts';
import { embeddedVoters } from '../../src/node/quorum-voters.ts';
import type { QuorumStore } from '../../src/quorum/port.ts';
import type { QuorumStatus } from '../../src/quorum/status.ts';
import { nodeNumber, serverNumber } from '../quorum/names.ts';

type ServerInfo = QuorumStatus['servers'][number];

function server(number: number, role: ServerInfo['role'], part: Partial<ServerInfo> = {}): ServerInfo {
  return {
    server: serverNumber(number),
    node: nodeNumber(number),
    role,
    isReachable: true,
    mayVote: true,
    wish: undefined,
    ...part,
  };
}

const THREE = [server(0, 'leader'), server(1, 'voter'), server(2, 'voter')];

async function outcome(wanted: 'add' | 'remove', number: number, servers: readonly ServerInfo[]) {
  let writes = 0;
  const store = { transact: async () => ok(++writes) } as unknown as QuorumStore;
  const status = () => ({ store: 'abc', leader: undefined, servers, format: { tooOld: [] } });
  const voters = embeddedVoters({
    status: status as unknown as () => QuorumStatus,
    peers: () => [],
    store,
    freshStoreId: () => Uint8Array.of(1),
    ask: async () => ok(undefined),
  });
  const answer = await voters[wanted](nodeNumber(number));
  expect(writes).toBe(answer.ok ? 1 : 0);
  return answer.ok ? 'ok' : answer.error;
}

describe('voters add', () => {
  it('of an observer is refused, and says why', async () => {
    const error = await outcome('add', 3, [...THREE, server(3, 'learner', { mayVote: false })]);
    expect(error).toMatchObject({ code: 'CONFLICT', message: expect.stringContaining('observer') });
  });

  it.each<[string, ServerInfo]>([
    ['a member', server(3, 'learner')],
    [
      'a member that is away, of which nothing is known',
      server(3, 'learner', { isReachable: false, mayVote: undefined }),
    ],
  ])('of %s is taken', async (_, member) => {
    expect(await outcome('add', 3, [...THREE, member])).toBe('ok');
  });
});

describe('voters remove', () => {
  it.each<[string, readonly ServerInfo[], number]>([
    ['nobody else is there', THREE, 2],
    ['the other one is an observer', [...THREE, server(3, 'learner', { mayVote: false })], 2],
    ['the other one is not wanted', [...THREE, server(3, 'learner', { wish: 'never' })], 2],
    ['the other one is away', [...THREE, server(3, 'learner', { isReachable: false })], 2],
    ['it is the only voter', [server(0, 'leader')], 0],
  ])('is refused where nobody can take the place: %s', async (_, servers, number) => {
    expect(await outcome('remove', number, servers)).toMatchObject({
      code: 'CONFLICT',
      details: { outcome: 'not-done' },
    });
  });

  it.each<[string, readonly ServerInfo[], number]>([
    ['another member can take its place', [...THREE, server(3, 'learner')], 2],
    ['three of four are left', [...THREE, server(3, 'voter')], 3],
    [
      'another is not wanted either, and one is left',
      [...THREE.slice(0, 2), server(2, 'voter', { wish: 'never' })],
      1,
    ],
    ['it has no vote', [...THREE, server(3, 'learner')], 3],
  ])('is taken where %s', async (_, servers, number) => {
    expect(await outcome('remove', number, servers)).toBe('ok');
  });
});
