/**
 * Anti-entropy: makes the replicas of one lattice equal on all nodes that can reach each other, directly or not.
 *
 * Intuition: whoever changes something tells all its neighbours at once, and that is nearly all the traffic there
 * is. Everything else repairs: neighbours now and then compare 16-byte roots, and where they differ the lagging
 * side asks, one bounded frame at a time, until it lacks nothing.
 *
 * Method:
 * - *push*: local changes go to every neighbour, one frame for all changes of one turn of the host's loop;
 * - *root*: sent to a new neighbour, to a random one every few seconds, and to a few shortly after a change, so
 *   that a change crosses a mesh in which not every pair is connected (rumour mongering with feedback, Demers et
 *   al., "Epidemic algorithms for replicated database maintenance", 1987);
 * - *pull*: digest, a few deltas, digest, a few deltas… The more there is and the faster it comes, the more deltas are
 *   asked for; and where they come in order, more are granted before the last has come, so that neither side waits for
 *   the other. The side that pulled and still differs says so, and the other pulls.
 *
 * What neighbours send unasked is charged to a budget, see `budget.ts`: beyond it a neighbour is heard later, and not
 * blamed, since nothing that it does is wrong.
 *
 * Limits: two replicas of which one refuses what the other holds can never be equal; they back off to a try a
 * minute. A push that is lost without the wire knowing is found by the next root. Nothing is forwarded: a
 * neighbour's neighbour waits for the rumour.
 */

import { equalBytes } from '../kernel/codec.ts';
import type { Channel, Mark, PeerDown, PeerUp, Penalise, Received, Send } from '../kernel/effects.ts';
import type { NodeId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { Machine } from '../kernel/machine.ts';
import type { Rng } from '../kernel/rng.ts';
import { type Deadline, earliest, type Instant, isDue, mayBeDue } from '../kernel/time.ts';
import { Budget, costOf, GIVEN_COST, ROOT_COST } from './budget.ts';
import { decodeFrame, encodeFrame, FRAME_HEADER_BYTES, type Frame } from './frames.ts';
import type { Delta, Lattice, Merged } from './lattice.ts';
import { Pulls } from './pulls.ts';
import { Rumour } from './rumour.ts';

export interface AntiEntropyConfig {
  /** A root goes to one random neighbour every so often, give or take a quarter. */
  readonly digestPeriodMs: number;
  /** How long after a change the first rumour goes out; grows by itself where rumours find nobody lacking. */
  readonly rumourDelayMs: number;
  /** A pull without an answer for this long is given up; doubles with each such pull from one neighbour. */
  readonly pullTimeoutMs: number;
  /** Neighbours pulled from at the same time, as long as none turns out to have much; then only that one. */
  readonly pulls: number;
}

const ANTI_ENTROPY_DEFAULTS: AntiEntropyConfig = {
  digestPeriodMs: 3_000,
  rumourDelayMs: 100,
  pullTimeoutMs: 750,
  pulls: 2,
};

type AntiEntropyEvent =
  | PeerUp
  | PeerDown
  | Received
  /** The owner changed the lattice: pushes are pending, to be taken by the next `expire`. */
  | { readonly kind: 'changed' }
  /** The owner knows that it lacks something (a session token says so): pull from `peer`, or from a few neighbours. */
  | { readonly kind: 'lacking'; readonly peer?: NodeId }
  /** The wire lost frames to this neighbour. */
  | { readonly kind: 'dropped'; readonly peer: NodeId };

export type AntiEntropyEffect = Send | Penalise | Mark;

/** Digests that one neighbour may have served at once, and for each second from then on. */
const SERVES_BURST = 1_000;
const SERVES_PER_SECOND = 500;
/** How long after lost frames their receiver is told the root: its queue must drain first. */
const AFTER_LOSS_MS = 250;

/** Of the roots that go to a random neighbour, one in so many is that of all that is held. */
const FULL_ROOT_PERIODS = 20;

/** Frames made for all neighbours together before other work has its turn. */
const SERVED_AT_ONCE = 4;

interface Neighbour {
  serves: number;
  servesAtMs: number;
  readonly budget: Budget;
}

/** What a neighbour still gets for its last digest. */
interface Serving {
  readonly request: number;
  readonly next: () => Delta | undefined;
  /** Frames that it may still take, this one included. */
  left: number;
}

export class AntiEntropy implements Machine<AntiEntropyEvent, AntiEntropyEffect> {
  readonly #self: NodeId;
  readonly #channel: Channel;
  readonly #stream: string;
  readonly #lattice: Lattice;
  readonly #config: AntiEntropyConfig;
  readonly #rng: Rng;
  readonly #neighbours = new Map<NodeId, Neighbour>();
  readonly #pulls: Pulls;
  readonly #rumour: Rumour;
  /** Neighbours that are owed a root, and when. */
  readonly #owed = new Map<NodeId, number>();
  /** Unfinished answers, at most one for each neighbour. */
  readonly #servings = new Map<NodeId, Serving>();
  #flush: Deadline | undefined;
  #period: Deadline;
  #periods = 0;

  constructor(options: {
    readonly self: NodeId;
    readonly channel: Channel;
    readonly stream: string;
    readonly lattice: Lattice;
    readonly config?: Partial<AntiEntropyConfig>;
    readonly rng: Rng;
    readonly now: Instant;
  }) {
    this.#self = options.self;
    this.#channel = options.channel;
    this.#stream = options.stream;
    this.#lattice = options.lattice;
    this.#config = { ...ANTI_ENTROPY_DEFAULTS, ...options.config };
    this.#rng = options.rng;
    this.#pulls = new Pulls(this.#config.pulls, this.#config.pullTimeoutMs);
    this.#rumour = new Rumour(this.#config.rumourDelayMs, this.#rng);
    this.#period = this.#nextPeriod(options.now);
  }

  /** Neighbours that are up, in the order in which they came. */
  get neighbours(): readonly NodeId[] {
    return [...this.#neighbours.keys()];
  }

  /** True while this replica is known to lack something that a neighbour is about to give. */
  get repairing(): boolean {
    return this.#pulls.expecting;
  }

  handle(event: AntiEntropyEvent, now: Instant): readonly AntiEntropyEffect[] {
    switch (event.kind) {
      case 'peerUp':
        return this.#peerUp(event.peer, now);
      case 'peerDown':
        this.#neighbours.delete(event.peer);
        this.#owed.delete(event.peer);
        this.#servings.delete(event.peer);
        this.#pulls.forget(event.peer);
        return this.#startPulls(now);
      case 'changed':
        this.#flush ??= { atMs: now.monoMs, reason: 'replication.flush' };
        return [];
      case 'lacking':
        return this.#lacking(event.peer, now);
      case 'dropped':
        if (this.#neighbours.has(event.peer)) this.#owe(event.peer, now.monoMs + AFTER_LOSS_MS);
        return [];
      case 'received':
        return this.#received(event, now);
    }
  }

  expire(now: Instant): readonly AntiEntropyEffect[] {
    const effects: AntiEntropyEffect[] = [];
    if (isDue(this.#flush, now)) {
      this.#flush = undefined;
      effects.push(...this.#push(now));
    }
    const owed = this.#owedRoots(now);
    if (owed.length > 0) effects.push(this.#send(owed, this.#root(this.#lattice.root())));
    effects.push(...this.#dueRoots(owed, now));
    effects.push(...this.#serveOn(now));
    for (const peer of this.#pulls.timeOut(now)) {
      effects.push(this.#mark('debug', 'replication.pullTimedOut', { peer }));
    }
    effects.push(...this.#startPulls(now));
    return effects;
  }

  deadline(): Deadline | undefined {
    return earliest([
      this.#flush,
      this.#period,
      this.#rumour.deadline,
      this.#pulls.deadline,
      this.#servings.size === 0 ? undefined : { atMs: this.#serveAtMs(), reason: 'replication.serve' },
      this.#owed.size === 0
        ? undefined
        : { atMs: Math.min(...this.#owed.values()), reason: 'replication.root' },
    ]);
  }

  #peerUp(peer: NodeId, now: Instant): readonly AntiEntropyEffect[] {
    if (peer === this.#self || this.#neighbours.has(peer)) return [];
    if (this.#neighbours.size >= limits.members) {
      return [this.#mark('warn', 'replication.tooManyNeighbours', { peer })];
    }
    this.#neighbours.set(peer, { serves: SERVES_BURST, servesAtMs: now.monoMs, budget: new Budget(now) });
    return [this.#send([peer], this.#root(this.#lattice.root()))];
  }

  #lacking(peer: NodeId | undefined, now: Instant): readonly AntiEntropyEffect[] {
    const asked =
      peer === undefined || !this.#neighbours.has(peer)
        ? this.#rng.shuffled(this.neighbours).slice(0, this.#config.pulls)
        : [peer];
    for (const from of asked) this.#pulls.want(from, { tell: false });
    return this.#startPulls(now);
  }

  #push(now: Instant): readonly AntiEntropyEffect[] {
    const pushes = this.#lattice.takePushes();
    if (pushes.length === 0 || this.#neighbours.size === 0) return [];
    this.#rumour.changed(undefined, now);
    const to = this.neighbours;
    return pushes.map((delta) =>
      delta.length + FRAME_HEADER_BYTES > limits.frameBytes
        ? this.#mark('error', 'replication.pushTooLarge', { bytes: delta.length })
        : this.#send(to, { kind: 'push', delta }),
    );
  }

  #owedRoots(now: Instant): readonly NodeId[] {
    const told: NodeId[] = [];
    for (const [peer, atMs] of this.#owed) {
      if (atMs > now.monoMs) continue;
      this.#owed.delete(peer);
      told.push(peer);
    }
    return told;
  }

  /** The root for the neighbour of this period, and for those whom the rumour picks; not for those who are told it just now. */
  #dueRoots(but: readonly NodeId[], now: Instant): readonly AntiEntropyEffect[] {
    const told = new Set<NodeId>();
    const neighbours = this.neighbours;
    let isFull = false;
    if (mayBeDue(this.#period, now)) {
      this.#period = this.#nextPeriod(now);
      if (neighbours.length > 0) told.add(this.#rng.pick(neighbours));
      isFull = ++this.#periods % FULL_ROOT_PERIODS === 0;
    }
    if (isDue(this.#rumour.deadline, now)) {
      for (const peer of this.#rumour.spread(neighbours, now)) told.add(peer);
    }
    for (const peer of but) told.delete(peer);
    if (told.size === 0) return [];
    return [this.#send([...told], this.#root(isFull ? this.#lattice.root() : this.#shownRoot(now)))];
  }

  #received(event: Received, now: Instant): readonly AntiEntropyEffect[] {
    const { from, bytes } = event;
    const neighbour = this.#neighbours.get(from);
    if (neighbour === undefined) return [];
    const frame = decodeFrame(bytes);
    switch (frame?.kind) {
      case undefined:
        return this.#blame(from, 'malformed frame');
      case 'push':
        return this.#pushed(from, neighbour, frame.delta, now);
      case 'root':
        return [
          ...this.#compare(from, frame.root, frame.pulled, now),
          ...this.#charge(from, neighbour, ROOT_COST, now),
        ];
      case 'digest':
        return this.#serve(from, neighbour, frame, now);
      case 'grant':
        return this.#granted(from, neighbour, frame, now);
      case 'delta':
        return this.#answered(from, neighbour, frame, now);
    }
  }

  /** What a neighbour over its budget pushes is not looked at, and asked for once it may be heard again. */
  #pushed(from: NodeId, neighbour: Neighbour, delta: Uint8Array, now: Instant): readonly AntiEntropyEffect[] {
    if (neighbour.budget.isPaused(now)) {
      this.#pulls.want(from, { tell: false });
      return [];
    }
    const { cost, effects } = this.#merge(delta, from, now, 0, true);
    return [...effects, ...this.#charge(from, neighbour, cost, now), ...this.#startPulls(now)];
  }

  #charge(from: NodeId, neighbour: Neighbour, cost: number, now: Instant): readonly AntiEntropyEffect[] {
    if (!neighbour.budget.charge(cost, now)) return [];
    const untilMs = neighbour.budget.pausedUntilMs;
    this.#pulls.pause(from, untilMs);
    return [
      this.#mark('warn', 'replication.overBudget', { peer: from, ms: Math.round(untilMs - now.monoMs) }),
    ];
  }

  #compare(from: NodeId, root: Uint8Array, pulled: boolean, now: Instant): readonly AntiEntropyEffect[] {
    if (this.#agrees(root, now)) {
      this.#pulls.agreed(from);
      return [];
    }
    this.#pulls.want(from, { tell: !pulled, root: root.slice() });
    return this.#startPulls(now);
  }

  #serve(
    from: NodeId,
    neighbour: Neighbour,
    { request, frames, digest }: Frame & { kind: 'digest' },
    now: Instant,
  ): readonly AntiEntropyEffect[] {
    if (!admitServe(neighbour, now)) return this.#blame(from, 'too many digests');
    // A new digest says more than the one before: what is left of the answer to that is void.
    this.#servings.delete(from);
    if (neighbour.budget.isPaused(now)) {
      const copy = digest.slice();
      const next = () => {
        const delta = this.#lattice.delta(copy, from, limits.repairBytes);
        return delta === 'malformed' ? undefined : delta;
      };
      this.#servings.set(from, { request, next, left: frames });
      return [];
    }
    const delta = this.#lattice.delta(digest, from, limits.repairBytes);
    if (delta === 'malformed') return this.#blame(from, 'malformed digest');
    if (delta !== undefined) this.#rumour.served(from, now);
    const charged = this.#charge(from, neighbour, costOf(digest.length, 0), now);
    return [...this.#give(from, request, delta, frames - 1, now), ...charged];
  }

  #granted(
    from: NodeId,
    neighbour: Neighbour,
    { request, frames }: Frame & { kind: 'grant' },
    now: Instant,
  ): readonly AntiEntropyEffect[] {
    const serving = this.#servings.get(from);
    if (serving?.request === request) serving.left = Math.min(serving.left + frames, limits.repairFrames);
    return this.#charge(from, neighbour, costOf(0, 0), now);
  }

  /** When the first of the neighbours that are owed something may get it; in the past where one may now. */
  #serveAtMs(): number {
    let atMs = Number.POSITIVE_INFINITY;
    for (const peer of this.#servings.keys()) {
      atMs = Math.min(atMs, this.#neighbours.get(peer)?.budget.pausedUntilMs ?? 0);
    }
    return Math.max(0, atMs);
  }

  /** The next frames of unfinished answers, in turn. */
  #serveOn(now: Instant): readonly AntiEntropyEffect[] {
    const effects: AntiEntropyEffect[] = [];
    let served = 0;
    for (const [peer, { request, next, left }] of [...this.#servings]) {
      if (served === SERVED_AT_ONCE) break;
      if (this.#neighbours.get(peer)?.budget.isPaused(now) === true) continue;
      served++;
      this.#servings.delete(peer);
      effects.push(...this.#give(peer, request, next(), left - 1, now));
    }
    return effects;
  }

  #give(
    peer: NodeId,
    request: number,
    delta: Delta | undefined,
    left: number,
    now: Instant,
  ): readonly AntiEntropyEffect[] {
    const next = left > 0 ? delta?.next : undefined;
    // Behind those of the others, so that all have their turn.
    if (next !== undefined) this.#servings.set(peer, { request, next, left });
    const neighbour = this.#neighbours.get(peer);
    const charged = neighbour === undefined ? [] : this.#charge(peer, neighbour, GIVEN_COST, now);
    const frame = this.#send([peer], {
      kind: 'delta',
      request,
      more: delta?.more ?? false,
      follows: next !== undefined,
      root: this.#shownRoot(now),
      delta: delta?.bytes ?? new Uint8Array(0),
      room: delta?.room ?? 0,
    });
    return [frame, ...charged];
  }

  #answered(
    from: NodeId,
    neighbour: Neighbour,
    frame: Frame & { kind: 'delta' },
    now: Instant,
  ): readonly AntiEntropyEffect[] {
    const { request, more, follows, delta } = frame;
    const isAwaited = this.#pulls.awaits(from, request);
    if (!isAwaited && delta.length > 0 && neighbour.budget.isPaused(now)) return [];
    // A copy: what is merged may be kept, and the frame with it.
    const theirs = frame.root.slice();
    const gave = delta.length > 0;
    const merged = gave ? this.#merge(delta, from, now, frame.room) : undefined;
    const effects = merged === undefined ? [] : [...merged.effects];
    // What was asked for comes no faster than it is asked for; unless asking makes up for what was dropped.
    if (merged !== undefined && (!isAwaited || neighbour.budget.isStrained(now))) {
      effects.push(...this.#charge(from, neighbour, merged.cost, now));
    }
    const refused = merged?.kind === 'refused';
    if (follows && !refused) {
      const news = { fits: merged?.kind === 'merged', changed: merged?.changed === true };
      const frames = this.#pulls.received(from, request, news, now);
      if (frames > 0) {
        effects.push(this.#send([from], { kind: 'grant', request, frames }));
        // What came is hashed now and then, lest all of it were at the end.
        this.#lattice.root();
      }
      return effects;
    }
    const ours = this.#lattice.root();
    const agreed = this.#agrees(theirs, now);
    const answer = { request, gave, more, refused, theirs, agreed, ours };
    const outcome = this.#pulls.answered(from, answer, now);
    if (outcome.tell) effects.push(this.#send([from], this.#root(ours, true)));
    if (outcome.diverged) effects.push(this.#mark('warn', 'replication.diverged', { peer: from }));
    effects.push(...this.#startPulls(now));
    return effects;
  }

  #merge(
    delta: Uint8Array,
    from: NodeId,
    now: Instant,
    room = 0,
    isPushed = false,
  ): { kind: Merged['kind']; changed: boolean; cost: number; effects: readonly AntiEntropyEffect[] } {
    const merged = this.#lattice.merge(delta, from, now, room, isPushed);
    const { kind } = merged;
    if (kind === 'refused')
      return { kind, changed: false, cost: 0, effects: this.#blame(from, merged.reason) };
    const changed = kind === 'merged' && merged.changed;
    if (kind === 'behind') this.#pulls.behind(from);
    else if (changed && merged.isQuiet !== true) this.#rumour.changed(from, now);
    return { kind, changed, cost: costOf(delta.length, merged.cost ?? 0), effects: [] };
  }

  #startPulls(now: Instant): readonly AntiEntropyEffect[] {
    if (!this.#pulls.mayStart(now)) return [];
    const root = this.#lattice.root();
    return this.#pulls
      .start(root, (theirs) => this.#agrees(theirs, now), now)
      .map(({ peer, request, frames }) =>
        this.#send([peer], { kind: 'digest', request, frames, digest: this.#lattice.digest() }),
      );
  }

  #root(root: Uint8Array, pulled = false): Frame {
    return { kind: 'root', pulled, root };
  }

  #shownRoot(now: Instant): Uint8Array {
    return this.#lattice.shownRoot?.(now) ?? this.#lattice.root();
  }

  #agrees(root: Uint8Array, now: Instant): boolean {
    return this.#lattice.agrees?.(root, now) ?? equalBytes(root, this.#lattice.root());
  }

  #owe(peer: NodeId, atMs: number): void {
    if (!this.#owed.has(peer)) this.#owed.set(peer, atMs);
  }

  /** Nobody waits for the periodic root, so it goes along with what else wakes the node; never later than the longest period. */
  #nextPeriod(now: Instant): Deadline {
    const { digestPeriodMs } = this.#config;
    const jitter = 1 + this.#rng.float() / 4;
    return {
      atMs: now.monoMs + digestPeriodMs * jitter,
      reason: 'replication.period',
      earlyMs: digestPeriodMs / 4,
    };
  }

  #send(to: readonly NodeId[], frame: Frame): Send {
    return { kind: 'send', stream: this.#stream, to, channel: this.#channel, bytes: encodeFrame(frame) };
  }

  #mark(level: Mark['level'], name: string, fields: Mark['fields']): Mark {
    return { kind: 'mark', level, name, fields: { channel: this.#channel, ...fields } };
  }

  #blame(peer: NodeId, reason: string): readonly AntiEntropyEffect[] {
    return [
      { kind: 'penalise', peer, reason: `${this.#channel}: ${reason}` },
      this.#mark('warn', 'replication.refused', { peer, reason }),
    ];
  }
}

/** A token bucket: a correct neighbour has one digest under way and is far below it. */
function admitServe(neighbour: Neighbour, now: Instant): boolean {
  const gained = ((now.monoMs - neighbour.servesAtMs) / 1_000) * SERVES_PER_SECOND;
  neighbour.serves = Math.min(SERVES_BURST, neighbour.serves + gained);
  neighbour.servesAtMs = now.monoMs;
  if (neighbour.serves < 1) return false;
  neighbour.serves -= 1;
  return true;
}
