/** The orders and facts that every machine shares; each machine adds its own to these unions. */
import type { Result } from './errors.ts';
import type { NodeId } from './ids.ts';

/** One libp2p protocol each: `/skein/<channel>/1`. */
export const CHANNELS = ['hello', 'mesh', 'records', 'board', 'quorum', 'call'] as const;
export type Channel = (typeof CHANNELS)[number];

/**
 * Effects are ordered within their stream only: a slow disk behind a board write must not hold back a heartbeat.
 * The name is the machine's own, or the machine's with a suffix where it wants two (`board`, `board/push`).
 */
export type Stream = string;

/** Send one frame to each of `to`. May be lost, doubled, delayed or reordered; the frame is at most `limits.frameBytes`. */
export interface Send {
  readonly kind: 'send';
  readonly stream: Stream;
  readonly to: readonly NodeId[];
  readonly channel: Channel;
  readonly bytes: Uint8Array;
}

/**
 * Append records to the journal, in order. With `durable`, the effects behind it in its stream wait for the disk
 * (many machines' persists share one sync); without, they do not, and the records reach the disk a little later.
 *
 * Where the disk fails, answers that waited become errors with `details.outcome: 'unknown'`, the other effects
 * that waited are dropped, and the machine gets `diskFailed`.
 */
export interface Persist {
  readonly kind: 'persist';
  readonly stream: Stream;
  readonly records: readonly Uint8Array[];
  readonly durable: boolean;
}

/** Answer the request `id` of a local caller, exactly once. */
export interface Answer {
  readonly kind: 'answer';
  readonly stream: Stream;
  readonly id: number;
  readonly result: Result<unknown>;
}

/** A line for the log and a count for the meter. Never holds secrets or tokens. */
export interface Mark {
  readonly kind: 'mark';
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  /** Dotted, stable, in the words of the machine: `board.refused`. */
  readonly name: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** A peer broke the protocol: count it against the peer; enough of it cuts the link for a while. */
export interface Penalise {
  readonly kind: 'penalise';
  readonly peer: NodeId;
  readonly reason: string;
}

/** An admitted peer can be reached (its `hello` was verified); sent once per peer, not per connection. */
export interface PeerUp {
  readonly kind: 'peerUp';
  readonly peer: NodeId;
}

export interface PeerDown {
  readonly kind: 'peerDown';
  readonly peer: NodeId;
  readonly reason: string;
}

/** A frame from an admitted peer. */
export interface Received {
  readonly kind: 'received';
  readonly from: NodeId;
  readonly bytes: Uint8Array;
}

/** The disk refused a write; until `diskRecovered`, refuse writes (`details.outcome: 'not-done'`) and go on serving reads. */
export interface DiskFailed {
  readonly kind: 'diskFailed';
  readonly reason: string;
}

export interface DiskRecovered {
  readonly kind: 'diskRecovered';
}

/**
 * What a record in the journal is about: its first byte. Machines prepend their tag when they persist, and get
 * the record back without it when the node starts.
 */
export const JOURNAL_TAGS = { record: 1, board: 2, document: 3, node: 4, quorum: 5, budget: 6 } as const;
type JournalTag = keyof typeof JOURNAL_TAGS;

/**
 * `body` with the tag in front, ready for `Persist`. A copy; unless `room` says that the byte before `body` in its buffer
 * is free: then the tag is written there.
 */
export function journalRecord(tag: JournalTag, body: Uint8Array, room = 0): Uint8Array {
  if (room > 0) {
    const inPlace = new Uint8Array(body.buffer, body.byteOffset - 1, body.length + 1);
    inPlace[0] = JOURNAL_TAGS[tag];
    return inPlace;
  }
  const record = new Uint8Array(body.length + 1);
  record[0] = JOURNAL_TAGS[tag];
  record.set(body, 1);
  return record;
}
