/**
 * Sections that cannot be taken in yet: what precedes them, what they rely on, or whose they are is not known here.
 * They wait outside, bounded in bytes in all and for each peer, and for a bounded time.
 */
import type { NodeId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { LaneSection } from './sections.ts';

interface HeldSection {
  readonly from: NodeId;
  readonly section: LaneSection;
  readonly raw: Uint8Array;
  readonly incarnation: number;
  readonly fromClock: number;
  readonly untilMs: number;
}

export class Held {
  readonly #byLane = new Map<string, HeldSection[]>();
  readonly #bytesOf = new Map<NodeId, number>();
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  get size(): number {
    return this.#byLane.size;
  }

  /** False where there is no room: the sender is asked again anyway. */
  add(held: HeldSection): boolean {
    const size = held.raw.length;
    const ofPeer = (this.#bytesOf.get(held.from) ?? 0) + size;
    if (this.#bytes + size > limits.heldBytes || ofPeer > limits.heldBytes / 4) return false;
    const name = nameOf(held.section.board, held.incarnation);
    const others = this.#byLane.get(name);
    if (others?.some((other) => other.fromClock === held.fromClock && other.raw.length === size)) return true;
    if (others === undefined) this.#byLane.set(name, [held]);
    else others.push(held);
    this.#account(held, 1);
    return true;
  }

  /** Takes out all that waits for one lane, the lowest clock first. */
  take(board: string, incarnation: number): readonly HeldSection[] {
    const name = nameOf(board, incarnation);
    const held = this.#byLane.get(name);
    if (held === undefined) return [];
    this.#byLane.delete(name);
    for (const each of held) this.#account(each, -1);
    return held.sort((left, right) => left.fromClock - right.fromClock);
  }

  /** Lanes of the board with something that relies on a lane. */
  waitingFor(board: string, incarnation: number): readonly number[] {
    const waiting: number[] = [];
    for (const held of this.#byLane.values()) {
      const [first] = held;
      if (first?.section.board !== board) continue;
      if (held.some((each) => each.section.hold && each.section.deps.has(incarnation)))
        waiting.push(first.incarnation);
    }
    return waiting;
  }

  /** Takes out everything. */
  takeAll(): readonly HeldSection[] {
    const all = [...this.#byLane.values()].flat();
    this.#byLane.clear();
    this.#bytesOf.clear();
    this.#bytes = 0;
    return all.sort((left, right) => left.fromClock - right.fromClock);
  }

  /** Forgets what has waited too long; how much that was. */
  expire(monoMs: number): number {
    let dropped = 0;
    for (const [name, held] of this.#byLane) {
      const kept = held.filter((each) => each.untilMs > monoMs);
      if (kept.length === held.length) continue;
      for (const each of held) if (each.untilMs <= monoMs) this.#account(each, -1);
      dropped += held.length - kept.length;
      if (kept.length === 0) this.#byLane.delete(name);
      else this.#byLane.set(name, kept);
    }
    return dropped;
  }

  #account(held: HeldSection, sign: number): void {
    const size = held.raw.length * sign;
    this.#bytes += size;
    const left = (this.#bytesOf.get(held.from) ?? 0) + size;
    if (left > 0) this.#bytesOf.set(held.from, left);
    else this.#bytesOf.delete(held.from);
  }
}

function nameOf(board: string, incarnation: number): string {
  return `${board}/${incarnation}`;
}
