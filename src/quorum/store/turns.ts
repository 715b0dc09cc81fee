/**
 * In whose turn a leader takes transactions that overwrite what their client has read.
 *
 * Intuition: of several that read a key and write it only over what they read, one wins, and the others try again with
 * what they are told. The leader's own client needs no network for that and would win nearly always; others would wait
 * for seconds. So while one is under way, the next wait here in a queue. When it took effect they can never do so any
 * more, and are told at once, without a place in the log or a write to any disk; each keeps its place in the queue until it
 * comes again.
 *
 * Method: two things must be certain before one that waits is told that it came too late.
 * - It can never take effect, wherever other copies of it may be: a key has passed the revision that it names
 *   (`Register.isOutdated`).
 * - What is applied here is no older than its call: at some moment after it came, this node was the leader. Either of
 *   two things proves that (`#isProved`): an entry that it appended after the call is committed, so a majority was of its
 *   term then; or a strong read was answered that it asked after the call.
 *
 * The entry comes for nothing, the read takes a round. So a read is asked only for two: who comes for the first time, as
 * nothing shows that it will come again and could be told later; and whose turn is next, unless it is followed: what
 * overwrites its key was admitted after it came, and is the proof once it is applied.
 *
 * Limits: what is held is in no log; when the leader changes it is forgotten, and whoever asked asks again. A client
 * that gives up after it was told delays others on that key once, by `EXPECTED_MS` at most. Clients are nodes: which of
 * several calls of one node comes again cannot be told, so they draw lots for its places. What exceeds the bounds goes
 * into the log at once, as it comes.
 */
import { limits } from '../../kernel/limits.ts';
import type { Deadline, Instant } from '../../kernel/time.ts';
import type { QuorumKey } from '../port.ts';
import type { LogIndex, ServerId } from '../raft/types.ts';
import { type ClientId, type Overwrite, overwriteOf } from '../register/command.ts';
import type { Applied } from '../register/outcome.ts';
import type { Register } from '../register/register.ts';

/** A command for the log. */
export interface Asked {
  readonly token: number;
  readonly command: Uint8Array;
  /** Whom to tell; `undefined` for this node's own. */
  readonly from?: ServerId;
}

/** `client` tells the run of a node that asked from one before, which had the same numbers. */
export interface Outdated {
  readonly from: ServerId | undefined;
  readonly client: ClientId;
  readonly sequence: number;
}

/** What is to be done now, in this order. */
interface Taken {
  readonly admitted: readonly Asked[];
  /** The token of a strong read to ask for: below zero, unlike those of calls. */
  readonly proof: number | undefined;
  readonly outdated: readonly Outdated[];
}

interface Held {
  readonly asked: Asked;
  readonly overwrite: Overwrite;
  readonly key: QuorumKey;
  /** The last index of the log when it came: what stands behind it was appended later. */
  readonly behind: LogIndex;
  /** Something that overwrites its key was admitted after it came. */
  isFollowed: boolean;
  /** The read that was asked for it. */
  read: 'none' | 'awaited' | 'given' | 'refused';
  /** Its client came again: it will do so next time as well, and is told when its turn is next. */
  isPatient: boolean;
}

interface Place {
  readonly client: ClientId;
  /** What came for it; `undefined` while its client is expected. */
  held: Held | undefined;
  /** Without anything held the place is given up then. */
  untilMs: number;
}

/** Many times a round in a local network, and little to who waits in vain. */
const EXPECTED_MS = 10;
/** Whoever overwrites a key again and again is back by then. */
const REGULAR_MS = 50;
/** For each key. */
const REGULARS = 8;

export class Turns {
  /** Those in the log that are not applied yet, with the keys that they overwrite. */
  readonly #underWay = new Map<string, readonly QuorumKey[]>();
  /** How many of those there are, by key. */
  readonly #busy = new Map<QuorumKey, number>();
  readonly #queues = new Map<QuorumKey, Place[]>();
  /** Of keys that have a queue: whose turns were the last, and until when each is one that comes again. */
  readonly #regulars = new Map<QuorumKey, Map<ClientId, number>>();
  #appliedIndex: LogIndex = 0;
  readonly #heldIds = new Set<string>();
  #heldBytes = 0;
  #unproved: Held[] = [];
  readonly #proofs = new Map<number, readonly Held[]>();
  #lastProof = 0;
  #outdated: Outdated[] = [];
  #admitted: Asked[] = [];

  /** `lastIndex` of the log: whatever is appended from here on stands behind it. */
  ask(asked: Asked, lastIndex: LogIndex, register: Register, now: Instant): void {
    const overwrite = overwriteOf(asked.command);
    if (overwrite === undefined) {
      this.#admitted.push(asked);
      return;
    }
    const id = idOf(overwrite.client, overwrite.sequence);
    if (this.#heldIds.has(id)) return;
    if (this.#queues.size > 0) this.#forgetPast(now);
    const key = overwrite.keys.find((each) => this.#busy.has(each) || this.#queues.has(each));
    if (key === undefined || this.#underWay.has(id) || this.#isFull(asked)) {
      this.#admit(asked, overwrite);
      return;
    }
    this.#hold(
      { asked, overwrite, key, behind: lastIndex, isFollowed: false, read: 'none', isPatient: false },
      now,
    );
    this.#advance(key, register, now);
  }

  /** `register` is as the command left it, which stands at `index`. Who asked a leader before this one is forgotten by then (`clear`). */
  applied({ client, sequence, changes }: Applied, index: LogIndex, register: Register, now: Instant): void {
    if (this.#underWay.size === 0 && this.#queues.size === 0) return;
    this.#appliedIndex = index;
    const id = idOf(client, sequence);
    const keys = this.#underWay.get(id) ?? [];
    this.#underWay.delete(id);
    for (const key of keys) {
      const others = (this.#busy.get(key) ?? 1) - 1;
      if (others > 0) this.#busy.set(key, others);
      else this.#busy.delete(key);
      if (this.#queues.has(key)) this.#noteRegular(key, client, now);
    }
    for (const { entry } of changes)
      for (const place of this.#queues.get(entry.key) ?? [])
        if (place.held?.isPatient === false) this.#tell(place, register, now);
    for (const key of keys) this.#advance(key, register, now);
  }

  /** The read that `take` asked for was answered: who waited for it asked the leader of that time. */
  proved(token: number, isRefused: boolean, register: Register, now: Instant): void {
    const all = this.#proofs.get(token) ?? [];
    this.#proofs.delete(token);
    for (const held of all) {
      held.read = isRefused ? 'refused' : 'given';
      const place = this.#queues.get(held.key)?.find((each) => each.held === held);
      if (place !== undefined && !held.isPatient) this.#tell(place, register, now);
      this.#advance(held.key, register, now);
    }
  }

  /** Somebody who was expected did not come. */
  expire(register: Register, now: Instant): void {
    if (this.#heldIds.size === 0) return;
    for (const key of this.#queues.keys()) this.#advance(key, register, now);
  }

  deadline(): Deadline | undefined {
    if (this.#heldIds.size === 0) return undefined;
    let atMs = Number.POSITIVE_INFINITY;
    for (const [key, [first, second]] of this.#queues) {
      const isWaiting = first !== undefined && first.held === undefined && second !== undefined;
      if (isWaiting && !this.#busy.has(key)) atMs = Math.min(atMs, first.untilMs);
    }
    return { atMs, reason: 'quorum turns' };
  }

  take(): Taken | undefined {
    const [outdated, admitted] = [this.#outdated, this.#admitted];
    if (outdated.length === 0 && admitted.length === 0 && this.#unproved.length === 0) return undefined;
    this.#outdated = [];
    this.#admitted = [];
    let proof: number | undefined;
    if (this.#unproved.length > 0) {
      proof = --this.#lastProof;
      this.#proofs.set(proof, this.#unproved);
      this.#unproved = [];
    }
    return { outdated, admitted, proof };
  }

  /** This node leads no more: nothing that comes proves anything to those that asked it. */
  clear(): void {
    if (this.#underWay.size === 0 && this.#queues.size === 0) return;
    this.#underWay.clear();
    this.#busy.clear();
    this.#queues.clear();
    this.#regulars.clear();
    this.#heldIds.clear();
    this.#heldBytes = 0;
    this.#unproved = [];
    this.#proofs.clear();
  }

  #admit(asked: Asked, { client, sequence, keys }: Overwrite): void {
    this.#admitted.push(asked);
    const id = idOf(client, sequence);
    if (this.#underWay.has(id)) return;
    this.#underWay.set(id, keys);
    for (const key of keys) {
      this.#busy.set(key, (this.#busy.get(key) ?? 0) + 1);
      for (const { held } of this.#queues.get(key) ?? []) if (held !== undefined) held.isFollowed = true;
    }
  }

  #hold(held: Held, now: Instant): void {
    const { client, sequence } = held.overwrite;
    const queue = this.#queues.get(held.key) ?? [];
    if (queue.length === 0) this.#queues.set(held.key, queue);
    const isRegular = (this.#regulars.get(held.key)?.get(client) ?? 0) > now.monoMs;
    const expected = queue.find((place) => place.client === client && place.held === undefined);
    const better = queue.find((place) => place.client === client && place.held !== undefined);
    if (expected !== undefined) expected.held = held;
    else if (better === undefined || !isLucky(sequence)) queue.push({ client, held, untilMs: 0 });
    else {
      queue.push({ client, held: better.held, untilMs: 0 });
      better.held = held;
    }
    this.#heldIds.add(idOf(client, sequence));
    this.#heldBytes += held.asked.command.length;
    held.isPatient = expected !== undefined || isRegular;
    if (!held.isPatient) this.#askRead(held);
  }

  #noteRegular(key: QuorumKey, client: ClientId, now: Instant): void {
    const regulars = this.#regulars.get(key) ?? new Map<ClientId, number>();
    this.#regulars.set(key, regulars);
    regulars.delete(client);
    regulars.set(client, now.monoMs + REGULAR_MS);
    const [oldest] = regulars.keys();
    if (oldest !== undefined && regulars.size > REGULARS) regulars.delete(oldest);
  }

  #askRead(held: Held): void {
    if (held.read !== 'none' || this.#isProved(held)) return;
    held.read = 'awaited';
    this.#unproved.push(held);
  }

  /** What stands behind `behind` was appended by this leader: another's is not applied before `clear`. */
  #isProved({ read, behind }: Held): boolean {
    return read === 'given' || behind < this.#appliedIndex;
  }

  #release(place: Place): Held | undefined {
    const { held } = place;
    if (held === undefined) return undefined;
    place.held = undefined;
    this.#heldIds.delete(idOf(held.overwrite.client, held.overwrite.sequence));
    this.#heldBytes -= held.asked.command.length;
    return held;
  }

  /** Its client is told where it came too late, and expected with another. */
  #tell(place: Place, register: Register, now: Instant): void {
    if (place.held === undefined || !register.isOutdated(place.held.overwrite)) return;
    if (!this.#isProved(place.held)) return;
    const { asked, overwrite } = place.held;
    this.#release(place);
    place.untilMs = now.monoMs + EXPECTED_MS;
    const { client, sequence } = overwrite;
    this.#outdated.push({ from: asked.from, client, sequence });
  }

  /** The first goes into the log, where it is there and nobody else's is under way. */
  #advance(key: QuorumKey, register: Register, now: Instant): void {
    const queue = this.#queues.get(key);
    if (queue === undefined) return;
    for (let first = queue[0]; first !== undefined && !this.#busy.has(key); first = queue[0]) {
      this.#tell(first, register, now);
      const { held, untilMs } = first;
      if (held === undefined && untilMs > now.monoMs) return;
      if (held !== undefined && held.read !== 'refused' && register.isOutdated(held.overwrite)) {
        this.#askRead(held);
        return;
      }
      queue.shift();
      this.#release(first);
      if (held !== undefined) this.#admit(held.asked, held.overwrite);
      else this.#hurry(queue, register, now);
    }
    const [next] = queue;
    if (next === undefined) this.#forget(key);
    else if (next.held !== undefined && !next.held.isFollowed) this.#askRead(next.held);
  }

  /** Who was expected did not come, and others may not either: one after the other they would delay the last for long. */
  #hurry(queue: readonly Place[], register: Register, now: Instant): void {
    for (const place of queue) {
      if (place.held === undefined) continue;
      place.held.isPatient = false;
      this.#askRead(place.held);
      this.#tell(place, register, now);
    }
  }

  #forget(key: QuorumKey): void {
    this.#queues.delete(key);
    this.#regulars.delete(key);
  }

  #isFull({ command }: Asked): boolean {
    return (
      this.#heldIds.size >= limits.quorumTurnsHeld ||
      this.#heldBytes + command.length > limits.quorumTurnsHeldBytes ||
      this.#queues.size >= limits.quorumTurnsKeys
    );
  }

  /** Queues in which nobody is and nobody is expected any more; the oldest are first. */
  #forgetPast(now: Instant): void {
    for (const [key, queue] of this.#queues) {
      if (queue.some(({ held, untilMs }) => held !== undefined || untilMs > now.monoMs)) return;
      this.#forget(key);
    }
  }
}

/** One of two, for each number as if by chance: whoever was to come first would always do so, and another never. */
function isLucky(sequence: number): boolean {
  const mixed = Math.imul(sequence ^ (sequence >>> 15), 0x85ebca6b);
  return Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35) >>> 31 === 1;
}

function idOf(client: ClientId, sequence: number): string {
  return `${client}/${sequence}`;
}
