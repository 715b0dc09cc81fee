/**
 * Records that change all the time and whose news can wait for seconds: they ride along with frames that go to a neighbour
 * anyway, from node to node, and cost no message of their own.
 *
 * Intuition: a row of a budget changes with every call to a model, and nobody needs it at once. Told by frames of their own such
 * rows were nearly all that budgets sent; while every node sends several frames a second that say no more than that it lives.
 *
 * Method: what is new, of this node or heard, is *owed* to every neighbour that is not known to have it. Whatever goes to that
 * neighbour takes it along; who hears it passes it on in the same way (an epidemic, so it takes about as many steps as
 * a number of nodes has bits), a few times: the owner goes on until all have it. Since owned and heard versions differ between
 * nodes for seconds, they are left out of the roots that neighbours compare while there is news; once nothing
 * changed for a while, and now and then in between, all that is held is compared, which finds what was lost. What one has lost
 * others lack too, and what it says once it has it is news again: so whoever finds something goes on comparing for a moment,
 * and starts a rumour.
 *
 * Who comes up is told at once what is held of its own: it may have got an older state of itself, and the first thing that it
 * says from there would take the place of what it has forgotten.
 *
 * Limits: a node that sends nothing else to anybody tells its own records by themselves after a few seconds.
 */
import { equalBytes } from '../kernel/codec.ts';
import type { NodeId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { Deadline, Instant } from '../kernel/time.ts';
import type { SignedRecord } from './record.ts';

/** Without any frame to ride on for so long, own records go by themselves. */
const ALONE_MS = 5_000;
/** How many neighbours each node that heard of a record tells in passing; its owner tells all. */
const FORWARDS = 3;
/** What was owed for longer is left to the comparing of roots. */
const OWED_MS = 60_000;
/** Without news for so long, all that is held is compared again. */
const CALM_MS = 10_000;
/** How long after something that was lost was found all that is held is compared although there is news: a rumour's time. */
const FOUND_MS = 5_000;
/** Roots of before the last changes that are remembered: whoever has one of them lacks what is on its way. */
const PAST_ROOTS = 256;

type Slot = Pick<SignedRecord, 'owner' | 'kind' | 'key'>;

interface Owed {
  readonly slot: Slot;
  /** Neighbours that are not known to have it. */
  readonly to: Set<NodeId>;
  readonly sinceMs: number;
  /** Neighbours that may yet be told in passing. */
  forwards: number;
}

export class Riding {
  readonly #self: NodeId;
  readonly #neighbours = new Set<NodeId>();
  /** Oldest first. */
  readonly #owed = new Map<string, Owed>();
  #pastRoots: { readonly root: Uint8Array; readonly atMs: number }[] = [];
  #newsMs = Number.NEGATIVE_INFINITY;
  #foundMs = Number.NEGATIVE_INFINITY;
  /** Something of this node's own waits, and this was the last frame to ride on. */
  #waitingMs: number | undefined;

  constructor(self: NodeId) {
    this.#self = self;
  }

  up(peer: NodeId): void {
    if (peer !== this.#self) this.#neighbours.add(peer);
  }

  down(peer: NodeId): void {
    this.#neighbours.delete(peer);
    for (const name of this.#owed.keys()) this.knows(peer, name);
  }

  get isEmpty(): boolean {
    return this.#owed.size === 0;
  }

  /** The neighbour should have it, whoever else does. */
  owe(slot: Slot, peer: NodeId, now: Instant): void {
    const name = slotName(slot);
    const { owner, kind, key } = slot;
    const owed = this.#owed.get(name) ?? {
      slot: { owner, kind, key },
      to: new Set<NodeId>(),
      sinceMs: now.monoMs,
      forwards: FORWARDS,
    };
    owed.to.add(peer);
    this.#owed.set(name, owed);
    this.#bound();
  }

  /** A newer record is held, of this node's own or from `from`; `before` is the root of all that was held until now. */
  changed(slot: Slot, from: NodeId | undefined, before: Uint8Array, now: Instant): void {
    this.#newsMs = now.monoMs;
    this.#pastRoots.push({ root: before, atMs: now.monoMs });
    if (this.#pastRoots.length > PAST_ROOTS) this.#pastRoots.shift();
    const name = slotName(slot);
    // To its owner too, if another one brought it: it may be a copy of the owner's data that signed it.
    const to = new Set(this.#neighbours);
    if (from !== undefined) to.delete(from);
    this.#owed.delete(name);
    if (to.size === 0) return;
    const isOwn = slot.owner === this.#self;
    const { owner, kind, key } = slot;
    this.#owed.set(name, {
      slot: { owner, kind, key },
      to,
      sinceMs: now.monoMs,
      forwards: isOwn ? Number.POSITIVE_INFINITY : FORWARDS,
    });
    this.#bound();
    if (isOwn) this.#waitingMs ??= now.monoMs;
  }

  /** The neighbour has what is held of the slot of this name. */
  knows(peer: NodeId, name: string): void {
    const owed = this.#owed.get(name);
    if (owed?.to.delete(peer) && owed.to.size === 0) this.#owed.delete(name);
  }

  /** A frame goes to the neighbour: what it should take along, oldest first. `inPassing`: of others' only what is still passed on. */
  *owedTo(peer: NodeId, inPassing: boolean, now: Instant): Generator<Slot> {
    if (inPassing && this.#waitingMs !== undefined) this.#waitingMs = now.monoMs;
    for (const [name, { slot, to, sinceMs, forwards }] of this.#owed) {
      if (now.monoMs - sinceMs > OWED_MS) this.#owed.delete(name);
      else if (to.has(peer) && (forwards > 0 || !inPassing)) yield slot;
    }
  }

  /** It is on its way there. */
  told(peer: NodeId, slot: Slot): void {
    const name = slotName(slot);
    const owed = this.#owed.get(name);
    if (owed !== undefined) owed.forwards -= 1;
    this.knows(peer, name);
  }

  /** Neighbours that own records have to go to by themselves now. */
  takeAlone(now: Instant): readonly NodeId[] {
    if (this.#waitingMs === undefined || now.monoMs < this.#waitingMs + ALONE_MS) return [];
    this.#waitingMs = undefined;
    const peers = new Set<NodeId>();
    for (const { slot, to } of this.#owed.values())
      if (slot.owner === this.#self) for (const peer of to) peers.add(peer);
    return [...peers];
  }

  deadline(): Deadline | undefined {
    if (this.#waitingMs === undefined) return undefined;
    return { atMs: this.#waitingMs + ALONE_MS, reason: 'records.alone' };
  }

  /** Something came in by comparing. True where it was lost: amid news it may as well have been on its way. */
  found(now: Instant): boolean {
    if (!this.#isCalm(now)) return false;
    this.#foundMs = now.monoMs;
    return true;
  }

  /** Everybody should have the same, or is to be told that it has not. */
  isComparing(now: Instant): boolean {
    return this.#isCalm(now) || now.monoMs - this.#foundMs < FOUND_MS;
  }

  /** Nothing has changed for a while. */
  #isCalm(now: Instant): boolean {
    return now.monoMs - this.#newsMs >= CALM_MS;
  }

  #bound(): void {
    if (this.#owed.size > limits.recordsOwed) this.#owed.delete(this.#owed.keys().next().value as string);
  }

  /** Whether this replica had this root a moment ago: what its holder lacks is on its way there. */
  hadRoot(root: Uint8Array, now: Instant): boolean {
    this.#pastRoots = this.#pastRoots.filter(({ atMs }) => now.monoMs - atMs < CALM_MS);
    return this.#pastRoots.some((past) => equalBytes(past.root, root));
  }
}

export function slotName({ owner, kind, key }: Slot): string {
  return `${owner} ${kind} ${key}`;
}
