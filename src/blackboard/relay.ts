/** Lanes that somebody else than their author brings: see `head.ts` for what is promised. */

import { ByteWriter } from '../kernel/bytes.ts';
import { equalBytes } from '../kernel/codec.ts';
import type { NodeId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { Cryptography } from '../kernel/ports.ts';
import type { EntryHead } from './entry.ts';
import { compareHeads, isEquivocation, rootOf, verifyHead } from './head.ts';
import { wallMsOf } from './hlc.ts';
import { BUCKET_CLOCKS, HASH_BYTES, type Hash, type Lane } from './lane.ts';
import type { LaneUpdate } from './lane-update.ts';
import type { CompareSection, Head, ProofSection } from './sections.ts';

interface Proof {
  readonly head: Head;
  readonly buckets: ReadonlyMap<number, Uint8Array>;
}

const scratch = new ByteWriter(64 * 1024);

export class Relay {
  readonly #cryptography: Cryptography;
  /** Heads and proofs of the delta that is being taken in, by incarnation. */
  readonly #heads = new Map<number, Head>();
  readonly #proofs = new Map<number, Proof>();

  constructor(cryptography: Cryptography) {
    this.#cryptography = cryptography;
  }

  get hash(): Hash {
    return this.#cryptography.hash;
  }

  /** Heads whose signature was checked for this delta. */
  checks = 0;

  begin(): void {
    this.checks = 0;
    if (this.#heads.size > 0) this.#heads.clear();
    if (this.#proofs.size > 0) this.#proofs.clear();
  }

  /** A head came in. Signatures are checked where others vouch for it; an author vouches for itself. */
  head(
    lane: Lane | undefined,
    head: Head,
    owner: NodeId,
    fromAuthor: boolean,
  ): 'known' | 'newer' | 'forged' | 'equivocation' {
    const known = lane?.head;
    const isKnown = known !== undefined && equalBytes(known.signature, head.signature);
    if (!isKnown && !fromAuthor && !this.#isSigned(head, owner)) return 'forged';
    this.#heads.set(head.incarnation, head);
    if (isKnown || lane === undefined) return 'known';
    if (known !== undefined && isEquivocation(known, head)) {
      const both = [known, head].every((each) => this.#isSigned(each, owner));
      return both ? 'equivocation' : 'forged';
    }
    if (known !== undefined && compareHeads(head, known) <= 0) return 'known';
    lane.head = head;
    return 'newer';
  }

  #isSigned(head: Head, owner: NodeId): boolean {
    this.checks++;
    return verifyHead(head, owner, this.#cryptography);
  }

  /** The clock of the head that came before in this delta; 0 without. */
  clockOf(incarnation: number): number {
    return this.#heads.get(incarnation)?.clock ?? 0;
  }

  /** Hashes of all buckets at the head that came before: believed only where their root is the signed one. */
  proof(section: ProofSection): void {
    const head = this.#heads.get(section.incarnation);
    if (head === undefined) return;
    const root = rootOf(section.incarnation, head.clock, section.buckets, this.hash);
    if (!equalBytes(root, head.root)) return;
    const buckets = new Map(section.buckets.map(({ index, hash }) => [index, hash]));
    this.#proofs.set(section.incarnation, { head, buckets });
  }

  /** May a relayed update be taken in? `no`: not now, and nobody is to blame. */
  allows(
    lane: Lane,
    update: LaneUpdate,
    bytes: Uint8Array,
    heads: readonly EntryHead[],
    context: { readonly authorAway: boolean },
  ): 'yes' | 'no' | 'forged' {
    const proof = this.#proofs.get(lane.incarnation);
    if (proof !== undefined) {
      if (lane.clock > proof.head.clock) return 'no';
      return this.#matches(lane, update, bytes, proof) ? 'yes' : 'forged';
    }
    if (!context.authorAway || update.deletes.length > 0) return 'no';
    return this.#isOfLastMoments(lane, heads) ? 'yes' : 'no';
  }

  /** A lane that has just been brought to its newest head keeps that head, to pass it on in its turn. */
  learn(lane: Lane): void {
    const head = this.#heads.get(lane.incarnation);
    if (head === undefined || (lane.head !== undefined && compareHeads(head, lane.head) <= 0)) return;
    lane.head = head;
  }

  /**
   * The relay's statement of the lane is the author's own, and not an older one than this copy: living items only
   * get fewer while the clock stands.
   */
  hasProven(lane: Lane, section: CompareSection): boolean {
    const head = this.#proofs.get(lane.incarnation)?.head;
    if (head === undefined || head.clock !== section.clock || head.live > lane.liveItems) return false;
    return equalBytes(head.root, section.root);
  }

  #isOfLastMoments(lane: Lane, heads: readonly EntryHead[]): boolean {
    const first = heads[0];
    if (first === undefined) return false;
    const { head } = lane;
    const base = head?.atMs ?? wallMsOf(lane.items().next().value?.revision ?? first.revision);
    return heads.every((each) => wallMsOf(each.revision) <= base + limits.unprovenMs);
  }

  /** Every bucket that the update touches is, with it, what the author signed. */
  #matches(lane: Lane, update: LaneUpdate, bytes: Uint8Array, proof: Proof): boolean {
    const { structs, deletes } = update;
    const touched = new Set<number>();
    for (let at = 0; at < structs.length; at += 3) {
      const clock = structs[at] as number;
      if (clock >= lane.clock && (structs[at + 1] as number) >= 0) touched.add(bucketOf(clock));
    }
    for (let at = 0; at < deletes.length; at += 2) {
      const from = deletes[at] as number;
      for (const item of lane.items(from, from + (deletes[at + 1] as number)))
        touched.add(bucketOf(item.clock));
    }
    if (update.toClock > lane.clock) touched.add(bucketOf(lane.clock));
    if (update.toClock > proof.head.clock) return false;
    const fresh = new Map<number, number>();
    for (let at = 0; at < structs.length; at += 3) fresh.set(structs[at] as number, at);
    for (const index of touched) {
      const hash = this.#hashAfter(lane, update, bytes, index, fresh);
      const expected = proof.buckets.get(index);
      if (
        hash === undefined ? expected !== undefined : expected === undefined || !equalBytes(hash, expected)
      ) {
        return false;
      }
    }
    return true;
  }

  /** Hash of a bucket once the update is in; `undefined` where nothing lives in it. */
  #hashAfter(
    lane: Lane,
    update: LaneUpdate,
    bytes: Uint8Array,
    index: number,
    fresh: ReadonlyMap<number, number>,
  ): Uint8Array | undefined {
    const from = index * BUCKET_CLOCKS;
    let live = 0;
    scratch.clear();
    for (let clock = from; clock < from + BUCKET_CLOCKS; clock++) {
      if (isDeleted(update.deletes, clock)) continue;
      const at = clock >= lane.clock ? fresh.get(clock) : undefined;
      const item = clock < lane.clock ? lane.at(clock) : undefined;
      const offset = at === undefined ? -1 : (update.structs[at + 1] as number);
      if (item === undefined && offset < 0) continue;
      live++;
      scratch.byte(clock - from);
      if (item !== undefined) {
        scratch.uint32(item.length);
        scratch.rawPart(item.page.bytes, item.offset, item.length);
      } else {
        const length = update.structs[(at as number) + 2] as number;
        scratch.uint32(length);
        scratch.rawPart(bytes, offset, length);
      }
    }
    return live === 0 ? undefined : this.hash(scratch.view()).slice(0, HASH_BYTES);
  }
}

function bucketOf(clock: number): number {
  return Math.floor(clock / BUCKET_CLOCKS);
}

function isDeleted(ranges: readonly number[], clock: number): boolean {
  let low = 0;
  let high = ranges.length / 2;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((ranges[middle * 2] as number) + (ranges[middle * 2 + 1] as number) <= clock) low = middle + 1;
    else high = middle;
  }
  const at = low * 2;
  return at < ranges.length && (ranges[at] as number) <= clock;
}
