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

const TIMEOUT_MS = 600;

interface Look {
  /** Which of this node's greetings the others say that they have. */
  readonly version?: number;
  readonly afterMs?: number;
  /** Who is connected, and who of them has greeted. */
  readonly connected?: readonly number[];
  readonly greeted?: readonly number[];
  readonly greeting?: Partial<Greeting>;
  /** During a change: those that vote besides until it ends. */
  readonly outgoing?: readonly number[];
}

function trusted(
  voters: readonly number[],
  claim: Greeting['claim'],
  confirmed: readonly number[],
  {
    version = FIRST_VERSION + 1,
    afterMs = TIMEOUT_MS,
    connected = [1, 2, 3, 4],
    greeted = connected,
    greeting,
    outgoing = [],
  }: Look = {},
): boolean {
  let isTrusted = false;
  const incoming = voters.map((number) => serverNumber(number));
  const replica = {
    server: SELF,
    carried: { store: OWN.store, storage: OWN.storage },
    get isTrusted() {
      return isTrusted;
    },
    raft: {
      configuration: { incoming, outgoing: outgoing.map((number) => serverNumber(number)) },
      isAlone: incoming.length === 1 && incoming[0] === SELF,
    },
    trust: () => {
      isTrusted = true;
    },
  };
  const neighbours = new Neighbours(() => false, FIRST_VERSION);
  for (const number of connected) neighbours.up(nodeNumber(number));
  neighbours.takeGreetings(OWN, NOW);
  for (const number of greeted)
    neighbours.greeted(
      nodeNumber(number),
      greetingOf(number, { heard: confirmed.includes(number) ? version : 0, ...greeting }),
      NOW,
    );
  const carrier = { replica, claim } as unknown as Carrier;
  new Trust(carrier, neighbours, TIMEOUT_MS, NOW).consider({ ...NOW, monoMs: NOW.monoMs + afterMs });
  return isTrusted;
}

const USED = { term: 3, lastIndex: 10 };

describe('trust in the own storage', () => {
  it.each<[string, readonly number[], Greeting['claim'], readonly number[], boolean]>([
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

describe('whose doubt counts', () => {
  const others = [serverNumber(1), serverNumber(2)];
  it.each<[string, number, Greeting['claim'], { isTrusted: boolean; isAlone: boolean }, boolean]>([
    ['a voter’s, also of who takes part', 1, USED, { isTrusted: true, isAlone: false }, true],
    [
      'nobody’s of a storage that began empty',
      1,
      { term: 0, lastIndex: 0 },
      { isTrusted: false, isAlone: false },
      false,
    ],
    ['anybody’s before it takes part', 4, USED, { isTrusted: false, isAlone: false }, true],
    ['no longer that of who has no vote', 4, USED, { isTrusted: true, isAlone: false }, false],
    ['never theirs of the only voter', 4, USED, { isTrusted: false, isAlone: true }, false],
  ])('%s', (_, from, claim, { isTrusted, isAlone }, expected) => {
    const replica = {
      server: SELF,
      carried: { store: OWN.store, storage: OWN.storage },
      isTrusted,
      raft: { configuration: { incoming: isAlone ? [SELF] : [SELF, ...others], outgoing: [] }, isAlone },
    };
    const neighbours = new Neighbours(() => false, FIRST_VERSION);
    const trust = new Trust({ replica, claim } as unknown as Carrier, neighbours, TIMEOUT_MS, NOW);
    expect(trust.isDoubted(nodeNumber(from), greetingOf(from, { doubted: OWN.storage }))).toBe(expected);
    const another = greetingOf(from, { doubted: 99 as StorageId });
    expect(trust.isDoubted(nodeNumber(from), another)).toBe(false);
  });
});

describe('during a change of voters', () => {
  it.each<[readonly number[], boolean]>([
    [[1], false],
    [[3, 4], false],
    [[1, 3], true],
  ])('a majority of both must have seen it: %j of 0, 1, 2 and 0, 3, 4 %s', (confirmed, expected) => {
    expect(trusted([0, 1, 2], USED, confirmed, { outgoing: [0, 3, 4] })).toBe(expected);
  });
});

describe('who is waited for', () => {
  const OTHERS = [SELF, serverNumber(1), serverNumber(2)];
  it.each<[string, readonly number[], readonly number[], Look, boolean]>([
    [
      'a voter that is connected and silent, for an election timeout',
      [0, 1, 2],
      [1],
      { afterMs: 599 },
      false,
    ],
    ['and no longer', [0, 1, 2], [1], { afterMs: 600 }, true],
    ['nobody where all voters have seen it', [0, 1, 2], [1, 2], { afterMs: 1 }, true],
    ['no voter that is away', [0, 1, 2], [1], { afterMs: 1, connected: [1, 4] }, true],
    ['by the only voter: anybody who may come, for 1.5 s', [0], [], { afterMs: 1_499, connected: [] }, false],
    ['and no longer', [0], [], { afterMs: 1_500, connected: [] }, true],
    ['by the only voter: who is connected and silent', [0], [], { afterMs: 4_999, greeted: [] }, false],
    ['but not for ever', [0], [], { afterMs: 5_000, greeted: [] }, true],
    ['by the only voter: who greets and has not seen it', [0], [1, 2, 3], { afterMs: 1_500 }, false],
    ['not where all have seen it', [0], [1, 2, 3, 4], { afterMs: 1_500 }, true],
    [
      'by the only voter: for others that vote, as somebody says',
      [0],
      [1, 2, 3, 4],
      { afterMs: 4_999, greeting: { voters: OTHERS } },
      false,
    ],
    [
      'nor for ever for them: anybody may say so',
      [0],
      [1, 2, 3, 4],
      { afterMs: 5_000, greeting: { voters: OTHERS } },
      true,
    ],
    [
      'who heard it promise more: it waits, but keeps the only vote of the store',
      [0],
      [1, 2, 3, 4],
      { afterMs: 1_500, greeting: { doubted: OWN.storage } },
      false,
    ],
    [
      'nobody who carries another store',
      [0],
      [],
      { afterMs: 1_500, greeting: { store: storeNumber(2), voters: OTHERS } },
      true,
    ],
  ])('%s', (_, voters, confirmed, look, expected) => {
    expect(trusted(voters, USED, confirmed, look)).toBe(expected);
  });
});

describe('another leads, and this one began as the only voter', () => {
  const append = { kind: 'append', previousIndex: 9, previousTerm: 4, entries: [], commit: 9 } as const;
  it.each<[string, number, boolean, boolean, boolean]>([
    ['in a later term: its disk is of before others came to vote', 4, true, false, true],
    ['in the same term: an earlier leader may still speak', 3, true, false, false],
    ['but others vote as far as its disk tells', 4, false, false, false],
    ['but it takes part already', 4, true, true, false],
  ])('%s', (_, term, isAlone, isTrusted, expected) => {
    const replica = { isTrusted, raft: { term: 3, isAlone } };
    const trust = new Trust(
      { replica, claim: USED } as unknown as Carrier,
      new Neighbours(() => false, FIRST_VERSION),
      TIMEOUT_MS,
      NOW,
    );
    const message = { ...append, from: serverNumber(1), to: SELF, term, round: 1, stable: 9 };
    expect(trust.isSuperseded(message)).toBe(expected);
  });
});

describe('what others have heard of an earlier run', () => {
  it.each([1, FIRST_VERSION - 1, FIRST_VERSION, FIRST_VERSION + 2, 2 ** 52])(
    'version %i, which this run never said, is no confirmation',
    (version) => {
      expect(trusted([0, 1, 2], USED, [1, 2], { version })).toBe(false);
    },
  );
});

describe('trust in others', () => {
  function doubtedAfter(greetings: readonly Greeting[]): StorageId | undefined {
    const neighbours = new Neighbours(() => false, FIRST_VERSION);
    const peer = nodeNumber(1);
    neighbours.up(peer);
    const trust = new Trust({ replica: undefined } as unknown as Carrier, neighbours, TIMEOUT_MS, NOW);
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
