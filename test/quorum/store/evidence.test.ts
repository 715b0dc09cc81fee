/** Disks that went back in time: found where somebody heard more, and never suspected without cause (K37, K29). */
import { describe, expect, it } from 'vitest';
import { type Rng, seededRng } from '../../../src/kernel/rng.ts';
import type { RaftMessage } from '../../../src/quorum/raft/types.ts';
import { type Claim, Evidence } from '../../../src/quorum/store/evidence.ts';
import { serverNumber } from '../names.ts';

const SERVER = serverNumber(1);
const OTHER = serverNumber(2);

function head(term: number) {
  return { from: SERVER, to: OTHER, term };
}

function vote(term: number, granted = true): RaftMessage {
  return { ...head(term), kind: 'voteAnswer', isPreVote: false, granted };
}

function stand(term: number): RaftMessage {
  return {
    ...head(term),
    kind: 'voteRequest',
    isPreVote: false,
    isTransfer: false,
    lastIndex: 1,
    lastTerm: 1,
  };
}

function confirm(term: number, index: number): RaftMessage {
  return { ...head(term), kind: 'appendAnswer', ok: true, index, conflictTerm: 0, round: 1 };
}

function lead(term: number, stable: number): RaftMessage {
  const log = { previousIndex: stable + 9, previousTerm: term, entries: [], commit: stable + 9 };
  return { ...head(term), kind: 'append', ...log, round: 1, stable };
}

/** A server that keeps every promise; says what is on its disk, and what it sent so far. */
class Honest {
  readonly #rng: Rng;
  term = 0;
  lastIndex = 0;
  #promised = 0;
  readonly sent: RaftMessage[] = [];

  constructor(rng: Rng) {
    this.#rng = rng;
  }

  get claim(): Claim {
    return { term: this.term, lastIndex: this.lastIndex };
  }

  step(): void {
    const rng = this.#rng;
    if (rng.chance(0.3)) {
      this.term += 1 + rng.below(3);
      this.#promised = 0;
      if (rng.chance(0.7)) this.sent.push(rng.chance(0.5) ? vote(this.term) : stand(this.term));
    } else {
      // A leader may take back what no leader of this term was promised.
      const keep = this.#promised + rng.below(this.lastIndex - this.#promised + 1);
      if (rng.chance(0.3)) this.lastIndex = keep;
      this.lastIndex += rng.below(5);
      const index = this.#promised + rng.below(this.lastIndex - this.#promised + 1);
      this.#promised = Math.max(this.#promised, index);
      this.sent.push(confirm(this.term, index));
    }
    // What is no promise: it may be of any term, and name any index.
    if (rng.chance(0.3)) this.sent.push({ ...vote(this.term + 9), isPreVote: true } as RaftMessage);
    if (rng.chance(0.3)) this.sent.push(vote(this.term + 9, false));
    if (rng.chance(0.3)) this.sent.push({ ...confirm(this.term, 1e6), ok: false } as RaftMessage);
  }
}

describe('evidence', () => {
  it('never doubts a disk that keeps its promises, whatever comes late, twice, out of order or not at all (2,000 servers)', () => {
    const rng = seededRng(1);
    for (let count = 0; count < 2_000; count++) {
      const server = new Honest(rng.fork());
      const evidence = new Evidence();
      for (let runs = 0; runs < 4; runs++) {
        for (let steps = rng.below(12); steps > 0; steps--) server.step();
        const heard = rng.shuffled([...server.sent, ...server.sent]).filter(() => rng.chance(0.6));
        for (const message of heard) evidence.note(message);
        expect(evidence.contradicts(SERVER, server.claim)).toBe(false);
      }
    }
  });

  it('finds every disk that holds less than one of the promises that were heard (2,000 servers)', () => {
    const rng = seededRng(2);
    let found = 0;
    for (let count = 0; count < 2_000; count++) {
      const server = new Honest(rng.fork());
      const claims: Claim[] = [];
      for (let steps = 1 + rng.below(12); steps > 0; steps--) {
        claims.push(server.claim);
        server.step();
      }
      const evidence = new Evidence();
      for (const message of rng.shuffled(server.sent)) evidence.note(message);
      const old = rng.pick(claims);
      const isBroken = server.sent.some(
        (message) =>
          (message.kind === 'appendAnswer' &&
            message.ok &&
            (message.term > old.term || (message.term === old.term && message.index > old.lastIndex))) ||
          (message.kind === 'voteAnswer' &&
            message.granted &&
            !message.isPreVote &&
            message.term > old.term) ||
          (message.kind === 'voteRequest' && message.term > old.term),
      );
      if (isBroken) found++;
      expect(evidence.contradicts(SERVER, old)).toBe(isBroken);
    }
    expect(found).toBeGreaterThan(500);
  });

  it.each<[string, RaftMessage[], Claim, boolean]>([
    ['nothing was heard', [], { term: 0, lastIndex: 0 }, false],
    ['it voted in a term that it forgot', [vote(5)], { term: 4, lastIndex: 100 }, true],
    ['it stood in a term that it forgot', [stand(5)], { term: 4, lastIndex: 100 }, true],
    ['it confirmed what it forgot', [confirm(5, 10)], { term: 5, lastIndex: 9 }, true],
    ['it holds what it confirmed', [confirm(5, 10)], { term: 5, lastIndex: 10 }, false],
    ['a later leader may have cut its log', [confirm(5, 10)], { term: 6, lastIndex: 3 }, false],
    ['it led with what it forgot', [lead(5, 10)], { term: 5, lastIndex: 9 }, true],
    ['it led, and had not written more itself', [lead(5, 10)], { term: 5, lastIndex: 10 }, false],
    ['it granted nothing', [vote(5, false)], { term: 4, lastIndex: 0 }, false],
    ['it was wiped and kept its name', [confirm(5, 10)], { term: 0, lastIndex: 0 }, true],
  ])('%s', (_, heard, claim, isContradicted) => {
    const evidence = new Evidence();
    for (const message of heard) evidence.note(message);
    expect(evidence.contradicts(SERVER, claim)).toBe(isContradicted);
    expect(evidence.contradicts(OTHER, claim)).toBe(false);
  });

  it('of very many servers the first that were heard are forgotten: memory is bounded', () => {
    const evidence = new Evidence();
    for (let number = 0; number < 2_000; number++)
      evidence.note({ ...confirm(5, 10), from: serverNumber(number % 1_000, number + 1) });
    const lost: Claim = { term: 0, lastIndex: 0 };
    expect(evidence.contradicts(serverNumber(0, 1), lost)).toBe(false);
    expect(evidence.contradicts(serverNumber(999, 2_000), lost)).toBe(true);
  });
});
