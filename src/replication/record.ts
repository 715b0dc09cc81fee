import type { NodeId } from '../kernel/ids.ts';

/** What records are about. Each kind's body has its own schema, checked by the module that owns the kind. */
const RECORD_KINDS = [
  'node',
  'lanes',
  'agent',
  'budget',
  'revocation',
  'upstream',
  'health',
  'head',
] as const;
export type RecordKind = (typeof RECORD_KINDS)[number];

/**
 * A small signed fact with one owner. Of one owner, kind and key the highest sequence wins; a body of
 * `undefined` is a tombstone. Two bodies under one sequence are kept as proof of equivocation.
 */
export interface SignedRecord {
  readonly owner: NodeId;
  readonly kind: RecordKind;
  /** At most 256 bytes of UTF-8; what tells apart several facts of one kind. */
  readonly key: string;
  /** Grows with every new body; at least the owner's wall clock in ms, so that it grows over a lost disk too. */
  readonly sequence: number;
  /** msgpack of the body, at most `limits.recordBytes`; empty for a tombstone. */
  readonly body: Uint8Array;
  /** Ed25519 by the owner over all of the above, with the domain prefix `skein/record/1`. */
  readonly signature: Uint8Array;
}

/** The slice of the record store that modules read. */
export interface RecordView {
  /** The newest body, decoded; `undefined` where there is none or a tombstone. */
  body(owner: NodeId, kind: RecordKind, key: string): unknown;
  /** Every live record of a kind, sorted by owner, then key. */
  ofKind(
    kind: RecordKind,
  ): readonly { readonly owner: NodeId; readonly key: string; readonly body: unknown }[];
}

/** `lanes` (key ''): the incarnations whose lanes this node owns in the boards. Oldest first; the last one is running. */
export interface LanesBody {
  readonly incarnations: readonly number[];
  /**
   * Which lanes of earlier incarnations were folded into later ones: `@incarnation` (with 0) names one that was.
   * `board@incarnation` is, for a lane folded away, the clock that it had; for a listed one, the clock that a copy must
   * have reached before the lanes folded into it are dropped. Only lanes named here are dropped, never others.
   */
  readonly folded: Readonly<Record<string, number>>;
}

/** `node` (key ''): how to reach a node and what it is; the descriptor that gossip spreads. */
export interface NodeBody {
  readonly name: string;
  readonly roles: readonly string[];
  readonly zone: string;
  /** Multiaddrs with the peer id. */
  readonly addresses: readonly string[];
  /** Base URL of its HTTP interface, where it listens on more than loopback. */
  readonly httpUrl?: string;
  readonly version: string;
  /** Wall time in ms. */
  readonly startedAt: number;
  /** Membership certificate: lets those who never met the node believe its records. */
  readonly certificate: Uint8Array;
}
