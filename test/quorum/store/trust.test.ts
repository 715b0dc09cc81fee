/** Whose storage counts: after a start nobody votes before a majority has seen what its disk holds (K37). */
import { describe, expect, it } from 'vitest';
import type { Greeting } from '../../../src/quorum/frames.ts';
import type { RaftMessage } from '../../../src/quorum/raft/types.ts';
import type { StorageId } from '../../../src/quorum/server.ts';
import type { Carrier } from '../../../src/quorum/store/carrier.ts';
import { Trust } from '../../../src/quorum/store/trust.ts';
import { Neighbours } from '../../../src/quorum/voters/neighbours.ts';
import { nodeNumber, serverNumber, storeNumber } from '../names.ts';

const SELF = serverNumber(0);
const NOW = { monoMs: 1_000, wallMs: 0 };
const OWN = {
  format: { newest: 1, store: 1 },
  dissolved: [],
  replaced: [],
  boot: 9,
  claim: { term: 0, lastIndex: 0 },
  store: storeNumber(1),
  storage: 1 as StorageId,
  hasData: false,
  mayFound: false,
  mayVote: true,
  voters: [],
};

function greetingOf(number: number, part: Partial<Greeting> = {}): Greeting {
  return {
    ...OWN,
    kind: 'greeting',
    version: 1,
    heard: 1,
    doubted: undefined,
    storage: (number + 1) as StorageId,
    ...part,
  };
}

const FIRST_VERSION = 1_000;

/** `version`: which of this node's greetings the others say that they have. */
function trusted(
  voters: readonly number[],
  claim: Greeting['claim'],
  confirmed: readonly number[],
  version = FIRST_VERSION + 1,
): boolean {
  let isTrusted = false;
  const incoming = voters.map((number) => serverNumber(number));
  const replica = {
    server: SELF,
    get isTrusted() {
      return isTrusted;
    },
    raft: { configuration: { incoming, outgoing: [] } },
    trust: () => {
      isTrusted = true;
    },
  };
  const neighbours = new Neighbours(() => false, FIRST_VERSION);
  for (const number of [1, 2, 3, 4]) neighbours.up(nodeNumber(number));
  neighbours.takeGreetings(OWN, NOW);
  for (const number of [1, 2, 3, 4])
    neighbours.greeted(
      nodeNumber(number),
      greetingOf(number, { heard: confirmed.includes(number) ? version : 0 }),
      NOW,
    );
  new Trust({ replica, claim } as unknown as Carrier, neighbours).consider();
  return isTrusted;
}

const USED = { term: 3, lastIndex: 10 };

describe('trust in the own storage', () => {
  it.each<[string, readonly number[], Greeting['claim'], readonly number[], boolean]>([
    ['the only voter asks nobody', [0], USED, [], true],
    ['a storage that promised nothing yet counts at once', [0, 1, 2], { term: 0, lastIndex: 0 }, [], true],
    ['nobody has seen it', [0, 1, 2], USED, [], false],
    ['one of two others has seen it', [0, 1, 2], USED, [1], true],
    ['who has seen it does not vote', [0, 1, 2], USED, [4], false],
    ['one of four others has seen it', [0, 1, 2, 3, 4], USED, [1], false],
    ['two of four others have seen it', [0, 1, 2, 3, 4], USED, [1, 3], true],
    ['the other one of two has not seen it', [0, 1], USED, [2, 3, 4], false],
    ['one that does not vote itself needs a majority of the voters', [1, 2, 3], USED, [1], false],
    ['and has it', [1, 2, 3], USED, [1, 2], true],
  ])('%s', (_, voters, claim, confirmed, expected) => {
    expect(trusted(voters, claim, confirmed)).toBe(expected);
  });
});

describe('what others have heard of an earlier run', () => {
  it.each([1, FIRST_VERSION - 1, FIRST_VERSION, FIRST_VERSION + 2, 2 ** 52])(
    'version %i, which this run never said, is no confirmation',
    (version) => {
      expect(trusted([0, 1, 2], USED, [1, 2], version)).toBe(false);
    },
  );
});

describe('trust in others', () => {
  function doubtedAfter(greetings: readonly Greeting[]): StorageId | undefined {
    const neighbours = new Neighbours(() => false, FIRST_VERSION);
    const peer = nodeNumber(1);
    neighbours.up(peer);
    const trust = new Trust({ replica: undefined } as unknown as Carrier, neighbours);
    const heard: RaftMessage = {
      from: serverNumber(1),
      to: SELF,
      term: 5,
      kind: 'appendAnswer',
      ok: true,
      index: 10,
      conflictTerm: 0,
      round: 1,
    };
    for (const [at, greeting] of greetings.entries()) {
      neighbours.greeted(peer, greeting, NOW);
      trust.examine(peer, greeting);
      if (at === 0) trust.heard(heard);
    }
    return neighbours.takeGreetings(OWN, NOW)[0]?.greeting.doubted;
  }

  const first = greetingOf(1, { boot: 1 });
  it.each<[string, readonly Greeting[], boolean]>([
    [
      'what it did since it started is no contradiction, however often it greets',
      [first, first, { ...first, version: 2 }],
      false,
    ],
    [
      'it started again with all that it promised',
      [first, greetingOf(1, { boot: 2, claim: { term: 5, lastIndex: 10 } })],
      false,
    ],
    [
      'it started again with less',
      [first, greetingOf(1, { boot: 2, claim: { term: 5, lastIndex: 9 } })],
      true,
    ],
    [
      'it started again in an older term',
      [first, greetingOf(1, { boot: 2, claim: { term: 4, lastIndex: 50 } })],
      true,
    ],
    [
      'it started again with another storage',
      [first, greetingOf(1, { boot: 2, storage: 77 as StorageId })],
      false,
    ],
    [
      'it started again without one',
      [first, greetingOf(1, { boot: 2, storage: undefined, store: undefined })],
      false,
    ],
  ])('%s', (_, greetings, isDoubted) => {
    expect(doubtedAfter(greetings)).toBe(isDoubted ? 2 : undefined);
  });
});
