/** Every door to the world. Real adapters are in `src/adapters`, simulated ones in `src/sim`. */
import type { Channel } from './effects.ts';
import type { NodeId } from './ids.ts';
import type { Instant } from './time.ts';

export interface Clock {
  now(): Instant;
  /** Calls back once, not before `atMs` on the monotonic clock; the returned function cancels it. */
  callAt(atMs: number, callback: () => void): () => void;
}

/** Unpredictable bytes for keys, tokens, nonces and incarnations. */
export interface Entropy {
  bytes(length: number): Uint8Array;
}

/**
 * Deterministic functions over bytes, given to the cores as a port so that they need no `node:crypto` and the
 * simulator may substitute cheap ones.
 */
export interface Cryptography {
  /** SHA-256: 32 bytes. */
  hash(bytes: Uint8Array): Uint8Array;
  /** Ed25519 (RFC 8032) under the key that a node's id embeds. False for anything malformed; never throws. */
  verifyNode(signer: NodeId, message: Uint8Array, signature: Uint8Array): boolean;
  /** Ed25519 under a raw 32-byte public key (a swarm's root). False for anything malformed; never throws. */
  verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean;
}

/** A private key that never leaves its adapter. */
export interface Signer {
  /** Raw Ed25519 public key, 32 bytes. */
  readonly publicKey: Uint8Array;
  /** 64 bytes. */
  sign(message: Uint8Array): Uint8Array;
}

/** What the wire reports. Frames of other channels than `hello` arrive only from admitted peers. */
export type WireEvent =
  | {
      readonly kind: 'connected';
      readonly peer: NodeId;
      readonly address: string;
      readonly direction: 'in' | 'out';
    }
  /** The last connection to the peer is gone. */
  | { readonly kind: 'disconnected'; readonly peer: NodeId; readonly reason: string }
  | { readonly kind: 'dialFailed'; readonly address: string; readonly reason: string }
  | { readonly kind: 'frame'; readonly from: NodeId; readonly channel: Channel; readonly bytes: Uint8Array }
  /** The queue to the peer was full, or its connection broke, and frames were lost. */
  | { readonly kind: 'dropped'; readonly peer: NodeId; readonly channel: Channel; readonly frames: number };

/**
 * Frames between nodes. Promises little: a frame may be dropped, doubled, delayed or reordered. Queues are
 * bounded for each peer; overflow drops and reports `dropped`.
 */
export interface Wire {
  listen(sink: (event: WireEvent) => void): Promise<void>;
  /** Own multiaddrs, with the peer id, best first; known once listening. */
  addresses(): readonly string[];
  /** The outcome arrives as `connected` or `dialFailed`. Dialling a connected peer again is harmless. */
  dial(address: string): void;
  send(to: NodeId, channel: Channel, bytes: Uint8Array): void;
  /** From now on frames of every channel of this peer pass. Lasts until the peer is disconnected. */
  admit(peer: NodeId): void;
  disconnect(peer: NodeId, reason: string): void;
  close(): Promise<void>;
}

/** What a journal held when it was opened, and what had to be cut or set aside. */
export interface JournalContents {
  /** Records of the checkpoint, then of the log, in the order written. */
  readonly records: readonly Uint8Array[];
  /** A last record cut short by a crash: normal; it was never acknowledged. */
  readonly tornBytes: number;
  /** Files found corrupt before their end, kept aside under these names for a person; heal from peers. */
  readonly quarantined: readonly string[];
}

/**
 * The node's disk: one append-only journal with group commit, and fuzzy checkpoints. State that is kept in it
 * merges (replaying a record twice is harmless), so a checkpoint may be written while appends go on.
 */
export interface Disk {
  /** Call once, first. */
  load(): Promise<JournalContents>;
  /** Buffers records in order; they are durable once a later `sync` resolves. */
  append(records: readonly Uint8Array[]): void;
  /**
   * Calls `done` when all that was appended before the call is on disk; syncs asked for while one runs share the
   * next. With an error nothing is promised of those records, and a failed sync is never reported as a success later.
   */
  sync(done: Done): void;
  /** Records appended from here on go to a new log segment. One checkpoint at a time. */
  beginCheckpoint(done: Done): void;
  writeCheckpoint(records: readonly Uint8Array[], done: Done): void;
  /** Atomically replaces the older checkpoint and removes the segments from before `beginCheckpoint`. */
  commitCheckpoint(done: Done): void;
  /** Bytes in the log segments, and in the newest checkpoint. */
  size(): { readonly logBytes: number; readonly checkpointBytes: number };
  close(): Promise<void>;
}

/** A callback rather than a promise, so that the simulator's disk answers at an exact virtual time. */
export type Done = (error?: DiskError) => void;

/** `full` tells "no space left" from other faults. */
export class DiskError extends Error {
  readonly full: boolean;
  constructor(message: string, full: boolean) {
    super(message);
    this.name = 'DiskError';
    this.full = full;
  }
}

export interface Logger {
  log(
    level: 'debug' | 'info' | 'warn' | 'error',
    name: string,
    fields: Readonly<Record<string, unknown>>,
  ): void;
}

export interface Meter {
  count(name: string, by?: number): void;
  gauge(name: string, value: number): void;
}
