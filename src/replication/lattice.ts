import type { NodeId } from '../kernel/ids.ts';
import type { Instant } from '../kernel/time.ts';

/**
 * State that merges: what boards and records have in common, and all that the anti-entropy machine knows of them.
 *
 * Merging is commutative, associative and idempotent, so frames may be lost, doubled and reordered. Everything is
 * bytes here: the lattice alone knows what they mean, checks them, and never throws for what a peer sent.
 *
 * Repair is pulled in bounded frames: the lagging side sends its digest, gets at most so many deltas as it asked for,
 * merges them and asks again with its new digest. The serving side keeps nothing but an unfinished answer.
 */
export interface Lattice {
  /** 16 bytes over the whole content (not over clocks alone: equal clocks can hide divergence). Equal roots: nothing to do. */
  root(): Uint8Array;
  /**
   * What neighbours are told now and then, where not everything should be compared: it leaves out what is on its way to all
   * anyway. Default: `root`.
   */
  shownRoot?(now: Instant): Uint8Array;
  /** Whether a neighbour with this root lacks nothing that it should ask for, nor has such a thing. Default: it is `root`. */
  agrees?(root: Uint8Array, now: Instant): boolean;
  /** What this replica holds, in at most `limits.frameBytes / 2` bytes. */
  digest(): Uint8Array;
  /**
   * What the holder of `theirs` lacks, about `maxBytes` of it; `undefined` where it lacks nothing that is here.
   * `more` says that another round will find more.
   */
  delta(theirs: Uint8Array, peer: NodeId, maxBytes: number): Delta | undefined | 'malformed';
  /**
   * Takes in a delta of either kind (pushed or pulled), and may keep it. So many bytes before it in its buffer as `room`
   * says are free. `isPushed`: it came unasked.
   */
  merge(delta: Uint8Array, from: NodeId, now: Instant, room?: number, isPushed?: boolean): Merged;
  /**
   * Local changes since the last call, as frames to push to every neighbour at once; empty where there are none.
   * Each is at most `limits.frameBytes` less `FRAME_HEADER_BYTES` (32).
   */
  takePushes(): readonly Uint8Array[];
}

export interface Delta {
  readonly bytes: Uint8Array;
  /** So many bytes before `bytes` in its buffer are free, and may be written: large deltas are then not copied again. */
  readonly room?: number;
  readonly more: boolean;
  /**
   * What the receiver lacks once it has taken this in, as far as that can be told without another digest. May be
   * called later, when this replica has changed; `undefined` where nothing is left.
   */
  readonly next?: () => Delta | undefined;
}

/**
 * `cost`: the work that it was, in structs checked, beside what its bytes alone cost; see `budget.ts`. `isQuiet`: what changed
 * gets around without roots being compared.
 */
export type Merged =
  /** In, or known before (`changed: false`). */
  | { readonly kind: 'merged'; readonly changed: boolean; readonly isQuiet?: boolean; readonly cost?: number }
  /** Something that precedes it is missing: ask the sender with a digest. */
  | { readonly kind: 'behind'; readonly cost?: number }
  /** It breaks the rules: not taken in, and the sender is to blame. */
  | { readonly kind: 'refused'; readonly reason: string };
