/**
 * Heads of lanes: what an author signs, so that others can pass its lane on without being believed themselves.
 *
 * Promise: once an author has signed the state of its lane, nobody can bring a third node anything else as that
 * lane: a relay shows the head and the hashes of all buckets, and every bucket is verified before it is taken in.
 * An author signs `limits.headDelayMs` after a change, so what it wrote in its last moments may have no head. Such a
 * tail is taken from others only while the author is away, and only as far as it is stamped within
 * `limits.unprovenMs` of the last head: a member can at most forge the last seconds of a dead author, never the present.
 */

import { ByteWriter } from '../kernel/bytes.ts';
import { equalBytes, utf8 } from '../kernel/codec.ts';
import type { NodeId } from '../kernel/ids.ts';
import type { Cryptography, Signer } from '../kernel/ports.ts';
import type { Instant } from '../kernel/time.ts';
import type { Board } from './board.ts';
import { wallMsOf } from './hlc.ts';
import { BUCKET_CLOCKS, HASH_BYTES, type Hash, type Lane } from './lane.ts';
import { type Head, type ProofSection, writeHead } from './sections.ts';

const DOMAIN = utf8('skein/lane-head/1');
const scratch = new ByteWriter(1024);

function messageOf(head: Omit<Head, 'signature'>): Uint8Array {
  scratch.clear();
  scratch.raw(DOMAIN);
  scratch.text(head.board);
  writeHead(scratch, head);
  return scratch.take();
}

export function signHead(board: Board, lane: Lane, hash: Hash, signer: Signer, now: Instant): Head {
  const head = {
    board: board.name,
    incarnation: lane.incarnation,
    clock: lane.clock,
    live: lane.liveItems,
    root: lane.root(hash),
    atMs: Math.max(0, Math.floor(now.wallMs), newestMs(lane)),
    deps: new Map(lane.deps),
  };
  return { ...head, signature: signer.sign(messageOf(head)) };
}

/** Of the living items at the lane's end, the latest stamp: ahead of a clock that was set back, and what comes next is later still. */
function newestMs(lane: Lane): number {
  let newest = 0;
  for (const { revision } of lane.items(Math.max(0, lane.clock - BUCKET_CLOCKS))) {
    if (revision > newest) newest = revision;
  }
  return newest === 0 ? 0 : wallMsOf(newest);
}

export function verifyHead(head: Head, owner: NodeId, cryptography: Cryptography): boolean {
  return cryptography.verifyNode(owner, messageOf(head), head.signature);
}

/** Greater than zero where `left` is the later state. */
export function compareHeads(left: Head, right: Head): number {
  return left.clock - right.clock || right.live - left.live;
}

/** Two states under one name: the author has signed both, so it told different things to different nodes. */
export function isEquivocation(left: Head, right: Head): boolean {
  return compareHeads(left, right) === 0 && !equalBytes(left.root, right.root);
}

/** True where the lane stands exactly where the head says. */
export function isAtHead(lane: Lane, head: Head, hash: Hash): boolean {
  return lane.clock === head.clock && lane.liveItems === head.live && equalBytes(lane.root(hash), head.root);
}

/** True where its author has signed more of the lane than this copy has: of one's own lane, a disk has lost it. */
export function isBehindHead({ head, clock }: Lane): boolean {
  return head !== undefined && head.clock > clock;
}

/** The root that a list of buckets has; see `Lane.root`. */
export function rootOf(
  incarnation: number,
  clock: number,
  buckets: ProofSection['buckets'],
  hash: Hash,
): Uint8Array {
  scratch.clear();
  scratch.uint56(incarnation);
  scratch.uint56(clock);
  for (const bucket of buckets) {
    scratch.uint56(bucket.index);
    scratch.raw(bucket.hash);
  }
  return hash(scratch.view()).slice(0, HASH_BYTES);
}
