/** Snapshots over links that lose, repeat and reorder what they carry, between ends that stop and start anew (K42). */
import { describe, expect, it } from 'vitest';
import { type Rng, seededRng } from '../../../src/kernel/rng.ts';
import type { Instant } from '../../../src/kernel/time.ts';
import type { StoreFrame } from '../../../src/quorum/frames.ts';
import type { ServerId } from '../../../src/quorum/raft/types.ts';
import {
  type Arrived,
  Capture,
  type Outcome,
  SnapshotReceiver,
  SnapshotSenders,
} from '../../../src/quorum/store/snapshot-transfer.ts';
import { EMPTY_POINT } from '../../../src/quorum/store/storage.ts';
import { serverNumber } from '../names.ts';
import { Told } from '../register/support.ts';

type Piece = Extract<StoreFrame, { kind: 'snapshot' }>;
type Answer = Extract<StoreFrame, { kind: 'snapshotAnswer' }>;

const LEADER = serverNumber(1);
const FOLLOWER = serverNumber(2);
const OTHER = serverNumber(3);

function filled(entries: number): Told {
  const told = new Told();
  for (let at = 0; at < entries; at++) told.put(`k${at}`, `${at} `.repeat(30_000));
  return told;
}

const LARGE = filled(20);
const SMALL = filled(0);

function captureOf(told: Told, index = told.index): Capture {
  return new Capture({ ...EMPTY_POINT, index, term: 1 }, told.register.capture());
}

function at(monoMs: number): Instant {
  return { monoMs, wallMs: monoMs } as Instant;
}

interface Faults {
  readonly loss: number;
  readonly repeat: number;
  readonly mostDelayMs: number;
}

/** One leader and one follower; what is on its way is handed over in the order of its arrival. */
class Link {
  readonly #rng: Rng;
  readonly #faults: Faults;
  readonly senders = new SnapshotSenders();
  receiver = new SnapshotReceiver();
  nowMs = 0;
  isReachable = true;
  readonly arrived: Arrived[] = [];
  readonly outcomes: Outcome[] = [];
  pieces = 0;
  #wire: { readonly atMs: number; readonly frame: StoreFrame }[] = [];

  constructor(seed: number, faults: Faults) {
    this.#rng = seededRng(seed);
    this.#faults = faults;
  }

  begin(told: Told, term = 1): void {
    this.send(this.senders.begin(FOLLOWER, term, 0, () => captureOf(told), at(this.nowMs)));
  }

  send(frames: readonly StoreFrame[]): void {
    const { loss, repeat, mostDelayMs } = this.#faults;
    for (const frame of frames) {
      const copies = this.#rng.chance(loss) ? 0 : this.#rng.chance(repeat) ? 2 : 1;
      for (let copy = 0; copy < copies; copy++)
        this.#wire.push({ atMs: this.nowMs + 1 + this.#rng.below(mostDelayMs + 1), frame });
    }
  }

  tick(): void {
    this.nowMs += 10;
    const due = this.#wire.filter(({ atMs }) => atMs <= this.nowMs).sort((a, b) => a.atMs - b.atMs);
    this.#wire = this.#wire.filter(({ atMs }) => atMs > this.nowMs);
    for (const { frame } of due) this.#deliver(frame);
    if ((this.senders.deadlineMs ?? Number.POSITIVE_INFINITY) > this.nowMs) return;
    const { frames, outcomes } = this.senders.expire(at(this.nowMs), () => this.isReachable);
    this.outcomes.push(...outcomes);
    for (const { frame } of frames) this.send([frame]);
  }

  #deliver(frame: StoreFrame): void {
    if (!this.isReachable) return;
    if (frame.kind === 'snapshot') {
      this.pieces++;
      const { answer, arrived } = this.receiver.take(LEADER, frame);
      if (arrived !== undefined) this.arrived.push(arrived);
      this.send([answer]);
    } else {
      const { frames, outcome } = this.senders.answered(FOLLOWER, frame as Answer, at(this.nowMs));
      if (outcome !== undefined) this.outcomes.push(outcome);
      this.send(frames);
    }
  }

  run(mostMs: number, until = () => this.outcomes.length > 0): void {
    for (const endMs = this.nowMs + mostMs; this.nowMs < endMs && !until(); ) this.tick();
  }
}

const GOOD: Faults = { loss: 0, repeat: 0, mostDelayMs: 0 };

function firstPieces(told: Told, term: number): Piece[] {
  const senders = new SnapshotSenders();
  return [...senders.begin(FOLLOWER, term, 0, () => captureOf(told), at(0))] as Piece[];
}

describe('snapshots on their way', () => {
  it.each([
    ['a good link', GOOD],
    ['30 % lost', { loss: 0.3, repeat: 0, mostDelayMs: 20 }],
    ['all repeated', { loss: 0, repeat: 1, mostDelayMs: 20 }],
    ['out of order by up to 300 ms', { loss: 0, repeat: 0, mostDelayMs: 300 }],
    ['all of it', { loss: 0.2, repeat: 0.2, mostDelayMs: 300 }],
  ])('arrive once and whole over %s (8 seeds, a dozen pieces and 1)', (_, faults) => {
    for (let seed = 0; seed < 8; seed++) {
      for (const told of [LARGE, SMALL]) {
        const link = new Link(seed, faults);
        link.begin(told);
        link.run(25_000);
        expect(link.outcomes).toEqual([{ to: FOLLOWER, index: told.index, ok: true }]);
        link.run(2_000, () => false);
        expect(link.arrived.map(({ register }) => register.digest())).toEqual([told.register.digest()]);
      }
    }
  });

  it('sends no piece twice over a link that loses nothing', () => {
    const link = new Link(1, GOOD);
    link.begin(LARGE);
    link.run(5_000);
    expect(link.pieces).toBe([...LARGE.register.capture()].length);
  });

  it.each([1, 3, 6])('go on where a follower starts anew after %i pieces (K42)', (count) => {
    const link = new Link(count, GOOD);
    link.begin(LARGE);
    link.run(5_000, () => link.pieces >= count);
    link.receiver = new SnapshotReceiver();
    link.run(5_000);
    expect(link.outcomes).toEqual([{ to: FOLLOWER, index: LARGE.index, ok: true }]);
    expect(link.arrived.length).toBe(1);
  });

  it('go on where a follower was out of reach for 10 s, and are given up after 30 s without an answer', () => {
    const back = new Link(1, GOOD);
    back.begin(LARGE);
    back.run(5_000, () => back.pieces >= 3);
    back.isReachable = false;
    back.run(10_000);
    expect(back.outcomes).toEqual([]);
    back.isReachable = true;
    back.run(2_000);
    expect(back.outcomes).toMatchObject([{ ok: true }]);

    const gone = new Link(2, GOOD);
    gone.begin(LARGE);
    gone.isReachable = false;
    gone.run(40_000);
    expect(gone.outcomes).toEqual([{ to: FOLLOWER, index: LARGE.index, ok: false }]);
    expect(gone.nowMs).toBeLessThan(31_000);
  });

  it('are given up although the follower can be reached, where it never answers', () => {
    const link = new Link(3, { ...GOOD, loss: 1 });
    link.begin(LARGE);
    link.run(40_000);
    expect(link.outcomes).toMatchObject([{ ok: false }]);
  });

  it('an answer that comes late and says to begin anew costs a few pieces, not the transfer', () => {
    const senders = new SnapshotSenders();
    senders.begin(FOLLOWER, 1, 0, () => captureOf(LARGE), at(0));
    const answer = (next: number): Answer => ({ kind: 'snapshotAnswer', transfer: 1, next, ok: true });
    for (let next = 1; next <= 6; next++) senders.answered(FOLLOWER, answer(next), at(next));
    expect(senders.answered(FOLLOWER, answer(0), at(7)).frames).toEqual([]);
    const again = senders.expire(at(1_000), () => true).frames.map(({ frame }) => frame.piece);
    expect(again).toEqual([0, 1, 2, 3]);
    const { frames } = senders.answered(FOLLOWER, answer(6), at(1_001));
    expect(frames.map(({ piece }) => piece)).toEqual([6, 7, 8, 9]);
  });

  it('are not given up as long as they move, however slowly', () => {
    const senders = new SnapshotSenders();
    senders.begin(FOLLOWER, 1, 0, () => captureOf(LARGE), at(0));
    for (let next = 1; next <= 8; next++) {
      expect(senders.expire(at(next * 12_000), () => true).outcomes).toEqual([]);
      const answer: Answer = { kind: 'snapshotAnswer', transfer: 1, next, ok: true };
      senders.answered(FOLLOWER, answer, at(next * 12_000));
    }
  });

  it('two followers at once share one capture, a third soon after them as well (K42)', () => {
    const senders = new SnapshotSenders();
    let captures = 0;
    const capture = () => {
      captures++;
      return captureOf(LARGE);
    };
    const first = senders.begin(FOLLOWER, 1, 0, capture, at(0));
    const second = senders.begin(OTHER, 1, 0, capture, at(9_000));
    expect(captures).toBe(1);
    expect(second.map((frame) => frame.bytes)).toEqual(first.map((frame) => frame.bytes));
    senders.begin(OTHER, 1, LARGE.index + 1, capture, at(9_500));
    expect(captures).toBe(2);
    senders.begin(FOLLOWER, 1, LARGE.index, capture, at(20_000));
    expect(captures).toBe(3);
  });

  it('of two leaders the one that spoke last is heard, and neither spoils the other (K42)', () => {
    const receiver = new SnapshotReceiver();
    const [old, young] = [firstPieces(LARGE, 1), firstPieces(LARGE, 2)];
    receiver.take(LEADER, old[0] as Piece);
    receiver.take(LEADER, old[1] as Piece);
    expect(receiver.take(OTHER, young[0] as Piece).answer).toMatchObject({ next: 1, ok: true });
    expect(receiver.take(LEADER, old[2] as Piece).answer).toMatchObject({ next: 0, ok: true });
    expect(receiver.take(OTHER, young[1] as Piece).answer).toMatchObject({ next: 2, ok: true });
  });

  it('a leader that started anew is not taken for the one that it was', () => {
    const receiver = new SnapshotReceiver();
    for (const piece of firstPieces(LARGE, 1)) receiver.take(LEADER, piece);
    const [piece] = firstPieces(SMALL, 2);
    expect(receiver.take(LEADER, piece as Piece).arrived?.register.digest()).toBe(SMALL.register.digest());
  });

  it('what has arrived is confirmed behind the disk, however often it comes', () => {
    const receiver = new SnapshotReceiver();
    const [piece] = firstPieces(SMALL, 1);
    const first = receiver.take(LEADER, piece as Piece);
    const again = receiver.take(LEADER, piece as Piece);
    expect(first).toMatchObject({ afterDisk: true, answer: { next: 1 } });
    expect(again).toEqual({ afterDisk: true, isNext: false, answer: first.answer });
  });

  it('a piece that does not fit gives the transfer up, and the next one begins from nothing', () => {
    const receiver = new SnapshotReceiver();
    const [first, second] = firstPieces(LARGE, 1);
    receiver.take(LEADER, first as Piece);
    const broken = { ...(second as Piece), bytes: (second as Piece).bytes.slice(1) };
    expect(receiver.take(LEADER, broken).answer).toMatchObject({ ok: false });
    expect(receiver.take(LEADER, first as Piece).answer).toMatchObject({ next: 1, ok: true });
  });

  it('takes no more than the largest store from anybody', () => {
    const receiver = new SnapshotReceiver(300_000);
    const answers = firstPieces(LARGE, 1).map((piece) => receiver.take(LEADER, piece).answer);
    expect(answers.map((answer) => (answer as Answer).ok)).toEqual([true, true, false, true]);
  });

  it.each([[-1], [5], [2 ** 40]])(
    'an answer that asks for piece %i beyond what was sent is ignored',
    (next) => {
      const senders = new SnapshotSenders();
      senders.begin(FOLLOWER, 1, 0, () => captureOf(LARGE), at(0));
      const answer: Answer = { kind: 'snapshotAnswer', transfer: 1, next, ok: true };
      expect(senders.answered(FOLLOWER, answer, at(1))).toEqual({ frames: [] });
      expect(senders.answered(OTHER as ServerId, { ...answer, next: 1 }, at(1))).toEqual({ frames: [] });
    },
  );
});
