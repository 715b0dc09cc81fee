/**
 * Which store a node carries: when to found one, whose to join, and which of two that meet gives way.
 *
 * Intuition: two stores that both hold data cannot be joined without losing what one of them promised, so a store is
 * founded as seldom as can be: by a node that nobody told of others, once it has looked around for a while; of several
 * that see each other only the one with the lowest id. A store in which no client ever wrote anything is given up for
 * another without loss. Whether it may be is decided by its own log (`dissolve` takes effect only while it is empty).
 */
import type { NodeId } from '../../kernel/ids.ts';
import type { Greeting } from '../frames.ts';
import type { StoreId } from '../server.ts';

interface Surroundings {
  readonly self: NodeId;
  /** Of the members that can be reached; those that have not greeted yet are `undefined`. */
  readonly greetings: ReadonlyMap<NodeId, Greeting | undefined>;
}

export interface Situation extends Surroundings {
  readonly carried: CarriedFacts | undefined;
  /** Somebody leads the own store, as far as this node knows. */
  readonly hasLeader: boolean;
  /** For so long that the majority may be taken for lost. */
  readonly isLeaderless: boolean;
  /** Stores that are known to have ended. */
  readonly dissolved: readonly StoreId[];
  /** The newest that this node's program understands. */
  readonly newestFormat: number;
  /** Members whose store was joined in vain lately. */
  readonly avoided: ReadonlySet<NodeId>;
  readonly mayFound: boolean;
  /** Long enough without a store. */
  readonly hasWaited: boolean;
}

export type Decision =
  | { readonly kind: 'stay' }
  | { readonly kind: 'join'; readonly store: StoreId }
  | { readonly kind: 'found' }
  /** Nothing of it ever came here, and nobody leads it: whoever named it may have made it up. */
  | { readonly kind: 'release' }
  /** `tookNoEffect`: the store was empty, so nothing that was asked of it took effect. */
  | { readonly kind: 'drop'; readonly tookNoEffect: boolean };

/** What to do about the own store, after every greeting and from time to time. */
export function decide(situation: Situation): Decision {
  const { carried } = situation;
  if (carried !== undefined) {
    if (hasEnded(carried, situation)) return { kind: 'drop', tookNoEffect: !carried.hasData };
    return carried.isUnknown && situation.isLeaderless ? { kind: 'release' } : { kind: 'stay' };
  }
  const store = storeToJoin(situation);
  if (store !== undefined) return { kind: 'join', store };
  return situation.mayFound && situation.hasWaited && isFounder(situation)
    ? { kind: 'found' }
    : { kind: 'stay' };
}

/**
 * Whether others' word is enough to give up the own store. Without data, that of a voter is, and anybody's while nobody leads
 * it. With data it must have had no leader for long, and those say so without whom it can never have one again: half of its
 * voters. A person's order may have taken it from fewer, as when all others are lost: then one of its voters goes on from it;
 * or this node has no vote, so what the voters hold stays whatever this node does, and no voter that still carries it can be
 * reached.
 */
function hasEnded(carried: CarriedFacts, { self, greetings, hasLeader, isLeaderless }: Situation): boolean {
  const { store, voters } = carried;
  const isKept = [...greetings].some(
    ([node, greeting]) => greeting?.store === store && voters.includes(node),
  );
  let count = 0;
  for (const [node, greeting] of greetings) {
    const votes = voters.includes(node);
    const isReplaced = greeting?.replaced.includes(store) === true;
    const isDissolved = greeting?.dissolved.includes(store) === true;
    if (isDissolved && !carried.hasData && (votes || !hasLeader)) return true;
    if (!isLeaderless) continue;
    if (isReplaced && (votes || (!voters.includes(self) && !isKept))) return true;
    if ((isReplaced || isDissolved) && votes) count++;
  }
  return count > 0 && count * 2 >= voters.length;
}

/** The one to join; of several, one with data first, then the lowest id. */
function storeToJoin({ greetings, dissolved, avoided, newestFormat }: Situation): StoreId | undefined {
  let best: { readonly store: StoreId; readonly hasData: boolean } | undefined;
  for (const [node, greeting] of greetings) {
    const store = greeting?.store;
    if (store === undefined || dissolved.includes(store) || avoided.has(node)) continue;
    // Who knows no voters joined at another's word, and has nothing of it yet.
    if (greeting?.voters.length === 0) continue;
    if ((greeting?.format.store ?? 0) > newestFormat) continue;
    const found = { store, hasData: greeting?.hasData === true };
    if (best === undefined || yields(best, found)) best = found;
  }
  return best?.store;
}

/** Whether it is this node's turn, of several that may. */
function isFounder({ self, greetings }: Surroundings): boolean {
  for (const [node, greeting] of greetings) {
    if (greeting === undefined || greeting.store !== undefined) return false;
    if (greeting.mayFound && node < self) return false;
  }
  return true;
}

export interface StoreFacts {
  readonly store: StoreId;
  readonly hasData: boolean;
}

interface CarriedFacts extends StoreFacts {
  /** Nodes that vote in it, as far as this one knows. */
  readonly voters: readonly NodeId[];
  /** Its log holds nothing, not even who votes. */
  readonly isUnknown: boolean;
}

/** Of two stores that meet: whether `ours` gives way. Never a store with data; of two empty ones that with the higher id. */
export function yields(ours: StoreFacts, theirs: StoreFacts): boolean {
  if (ours.hasData || ours.store === theirs.store) return false;
  return theirs.hasData || theirs.store < ours.store;
}
