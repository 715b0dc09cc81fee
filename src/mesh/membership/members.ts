import type { NodeId } from '../../kernel/ids.ts';
import { limits } from '../../kernel/limits.ts';
import type { Rng } from '../../kernel/rng.ts';
import type { Instant } from '../../kernel/time.ts';
import type { MemberState } from '../view.ts';
import type { MemberInfo } from './events.ts';
import type { Update } from './messages.ts';
import type { Suspicion } from './suspicion.ts';

export interface Member {
  readonly id: NodeId;
  readonly state: MemberState;
  incarnation: number;
  /** There is an admitted link to it. */
  readonly linked: boolean;
  /** It said goodbye itself. */
  left: boolean;
  /** Wall time at which it came to its state. */
  sinceMs: number;
  /** The same on the monotonic clock. */
  changedMs: number;
  /** When its last own frame came. */
  heardMs: number;
  /** When it was last probed. */
  probedMs: number;
  rttMs: number | undefined;
  /** Others that doubt it while this node still checks: when each first said so. */
  readonly doubters: Map<NodeId, number>;
  suspicion: Suspicion | undefined;
  probe: Probe | undefined;
  /** Probes that its word has started in the current second. */
  prompted: { sinceMs: number; count: number };
}

export interface Probe {
  stage: number;
  readonly startMs: number;
  nextMs: number;
  readonly stepMs: number;
  /** Others asked, and how many of them have answered that they could not reach it. */
  asked: number;
  nacks: number;
}

/** What lets a member know that it is doubted, so that it can refute. */
export function doubtAbout({ id, state, incarnation, doubters, left }: Member): readonly Update[] {
  if (left || (state === 'alive' && doubters.size === 0)) return [];
  return [{ member: id, incarnation, state: state === 'dead' ? 'dead' : 'suspect' }];
}

/** Probes a second that one member's word can start. */
const PROMPTED_PROBES = 64;

/** Whether the word of `member` may start one more probe; counts it. */
export function mayPrompt(member: Member, now: Instant): boolean {
  if (member.prompted.sinceMs + 1_000 <= now.monoMs) member.prompted = { sinceMs: now.monoMs, count: 0 };
  return ++member.prompted.count <= PROMPTED_PROBES;
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** The table of all others that this node knows of, bounded, with the orders in which they are probed. */
export class Members {
  readonly #self: NodeId;
  readonly #rng: Rng;
  readonly #members = new Map<NodeId, Writable<Member>>();
  #alive = 0;
  #ring: readonly Member[] | undefined;
  #turn: NodeId[] = [];

  constructor(self: NodeId, rng: Rng) {
    this.#self = self;
    this.#rng = rng;
  }

  get size(): number {
    return this.#members.size;
  }

  /** How many others are alive and not suspected. */
  get alive(): number {
    return this.#alive;
  }

  get(id: NodeId): Member | undefined {
    return this.#members.get(id);
  }

  values(): IterableIterator<Member> {
    return this.#members.values();
  }

  linked(): readonly Member[] {
    return [...this.#members.values()].filter((member) => member.linked);
  }

  /** Sorted by id. */
  infos(): readonly MemberInfo[] {
    return [...this.#members.values()]
      .map(({ id, state, incarnation, linked, rttMs, sinceMs }) => ({
        nodeId: id,
        state,
        incarnation,
        linked,
        ...(rttMs === undefined ? {} : { rttMs }),
        sinceMs,
      }))
      .sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1));
  }

  /**
   * The new member, alive; `undefined` where the table is full. A member with a link displaces one that is dead or
   * only known by hearsay.
   */
  add(id: NodeId, incarnation: number, linked: boolean, now: Instant): Member | undefined {
    if (this.#members.size >= limits.members && !(linked && this.#evict())) return undefined;
    const member: Member = {
      id,
      state: 'alive',
      incarnation,
      linked,
      left: false,
      sinceMs: now.wallMs,
      changedMs: now.monoMs,
      heardMs: Number.NEGATIVE_INFINITY,
      probedMs: Number.NEGATIVE_INFINITY,
      rttMs: undefined,
      doubters: new Map(),
      suspicion: undefined,
      probe: undefined,
      prompted: { sinceMs: now.monoMs, count: 0 },
    };
    this.#members.set(id, member);
    this.#turn.push(id);
    this.#alive++;
    this.#ring = undefined;
    return member;
  }

  setLinked(id: NodeId, linked: boolean): void {
    const member = this.#members.get(id);
    if (member !== undefined) member.linked = linked;
    this.#ring = undefined;
  }

  setState(id: NodeId, state: MemberState, now: Instant): void {
    const member = this.#members.get(id);
    if (member === undefined) return;
    if (member.state === 'alive') this.#alive--;
    if (state === 'alive') this.#alive++;
    member.state = state;
    member.sinceMs = now.wallMs;
    member.changedMs = now.monoMs;
    this.#ring = undefined;
  }

  /** Forgets the dead that are too many, or dead for longer than `forgetMs`; returns whom. */
  forgetDead(forgetMs: number, now: Instant): readonly NodeId[] {
    const dead = [...this.#members.values()]
      .filter((member) => member.state === 'dead' && !member.linked)
      .sort((a, b) => b.changedMs - a.changedMs);
    const forgotten = dead.filter(
      (member, place) => place >= limits.deadMembers || member.changedMs + forgetMs <= now.monoMs,
    );
    for (const member of forgotten) this.#members.delete(member.id);
    return forgotten.map((member) => member.id);
  }

  /**
   * Those that this node watches, the next `count` in the ring of the linked by id, each with the time at which its silence
   * has lasted `patienceMs`; without those that are being probed or suspected already.
   */
  *silences(count: number, patienceMs: number): Generator<readonly [member: Member, silentMs: number]> {
    this.#ring ??= this.#ringFromSelf();
    for (const member of this.#ring.slice(0, count)) {
      if (member.probe !== undefined || member.suspicion !== undefined) continue;
      yield [member, Math.max(member.heardMs, member.probedMs) + patienceMs];
    }
  }

  /** The `count` before oneself, the nearest first: who watches this node. */
  watchers(count: number): readonly Member[] {
    this.#ring ??= this.#ringFromSelf();
    return this.#ring.slice(Math.max(0, this.#ring.length - count)).reverse();
  }

  /** Everybody in turn, in an order that changes with every round (SWIM, section 4.3). */
  nextInTurn(): Member | undefined {
    for (let refills = 0; refills < 2; ) {
      const id = this.#turn.pop();
      if (id === undefined) {
        this.#turn = this.#rng.shuffled([...this.#members.keys()]);
        refills++;
        continue;
      }
      const member = this.#members.get(id);
      if (member !== undefined && (member.state !== 'dead' || member.linked)) return member;
    }
    return undefined;
  }

  #ringFromSelf(): readonly Member[] {
    const sorted = [...this.#members.values()]
      .filter((member) => member.linked && member.state !== 'dead')
      .sort((a, b) => (a.id < b.id ? -1 : 1));
    const after = sorted.filter((member) => member.id > this.#self);
    return [...after, ...sorted.slice(0, sorted.length - after.length)];
  }

  #evict(): boolean {
    const unlinked = [...this.#members.values()].filter((member) => !member.linked);
    const spare = unlinked.find((member) => member.state === 'dead') ?? unlinked[0];
    if (spare === undefined) return false;
    if (spare.state === 'alive') this.#alive--;
    return this.#members.delete(spare.id);
  }
}
