/**
 * Frames of the channel `quorum`. Every frame but `greeting` names the store and the storages of sender and
 * receiver: what was meant for another store, or for the storage that a node once had, is passed over.
 */
import { ByteReader, ByteWriter } from '../kernel/bytes.ts';
import type { NodeId } from '../kernel/ids.ts';
import {
  readConfiguration,
  readMessage,
  readNumbers,
  readServers,
  writeConfiguration,
  writeMessage,
  writeNumbers,
  writeServers,
} from './message-codec.ts';
import type { RaftMessage, ServerId, SnapshotPoint } from './raft/types.ts';
import type { ClientId } from './register/command.ts';
import { type FormatFacts, NEWEST_FORMAT } from './register/format.ts';
import { parseStorageId, parseStoreId, type StorageId, type StoreId, serverIdOf } from './server.ts';
import type { Claim } from './store/evidence.ts';

/** What a node says of itself when a link opens and whenever this changes. */
export interface Greeting {
  readonly kind: 'greeting';
  /** Grows when what follows changes, from a random number on in each run. */
  readonly version: number;
  /** The version of the receiver's greeting that the sender has; 0 for none. */
  readonly heard: number;
  /** Of stores: what its program understands, and what its store has. */
  readonly format: FormatFacts;
  /** The store that it carries, and the storage it does so on; neither where it has none yet. */
  readonly store: StoreId | undefined;
  readonly storage: StorageId | undefined;
  /** Something was ever written to that store by a client, as far as this node knows. */
  readonly hasData: boolean;
  /** It would found a store if nobody else has one. */
  readonly mayFound: boolean;
  /** It may be made a voter. */
  readonly mayVote: boolean;
  /** Random for each run of the node. */
  readonly boot: number;
  /** What its storage held when it started. */
  readonly claim: Claim;
  /** The receiver's storage, where it went back in time: it held less at its start than was heard of it. */
  readonly doubted: StorageId | undefined;
  /** Stores that gave way to another: whoever still carries one of them without data drops it. */
  readonly dissolved: readonly StoreId[];
  /** Stores whose majority was lost for good and that this node's store goes on from, by a person's order. */
  readonly replaced: readonly StoreId[];
  /** Voters that it knows of in its store. */
  readonly voters: readonly ServerId[];
}

export type StoreFrame =
  | { readonly kind: 'raft'; readonly message: RaftMessage }
  /** Commands of a member for the log; who does not lead refuses. */
  | {
      readonly kind: 'propose';
      readonly requests: readonly { readonly sequence: number; readonly command: Uint8Array }[];
    }
  | { readonly kind: 'refuse'; readonly reason: 'notLeader' | 'busy'; readonly sequences: readonly number[] }
  /** Transactions that can never take effect any more: what they read otherwise is read behind `index`. */
  | {
      readonly kind: 'outdated';
      readonly index: number;
      /** Whose they are: an earlier run of the receiver used the same numbers. */
      readonly client: ClientId;
      readonly sequences: readonly number[];
    }
  | {
      readonly kind: 'snapshot';
      readonly transfer: number;
      readonly point: SnapshotPoint;
      readonly term: number;
      readonly piece: number;
      readonly isLast: boolean;
      readonly bytes: Uint8Array;
    }
  /** The pieces before `next` are here; `ok: false` gives the transfer up. */
  | {
      readonly kind: 'snapshotAnswer';
      readonly transfer: number;
      readonly next: number;
      readonly ok: boolean;
    }
  /** On the sender's disk, and promised to another: its term, and in that term its log up to here. */
  | { readonly kind: 'promise'; readonly promised: Claim };

interface Addressed {
  readonly store: StoreId;
  readonly from: ServerId;
  readonly to: ServerId;
  readonly frame: StoreFrame;
}

const KIND = {
  greeting: 0,
  raft: 1,
  propose: 2,
  refuse: 3,
  snapshot: 4,
  snapshotAnswer: 5,
  outdated: 6,
  promise: 7,
} as const;
const MOST_STORES = 64;
const out = new ByteWriter(16 * 1024);

export function encodeGreeting(greeting: Greeting): Uint8Array {
  out.byte(KIND.greeting);
  out.varuint(greeting.format.newest);
  out.varuint(greeting.format.store);
  out.varuint(greeting.version);
  out.varuint(greeting.heard);
  out.uint56(greeting.store ?? 0);
  out.uint56(greeting.storage ?? 0);
  out.byte((greeting.hasData ? 1 : 0) | (greeting.mayFound ? 2 : 0) | (greeting.mayVote ? 4 : 0));
  out.uint56(greeting.boot);
  out.varuint(greeting.claim.term);
  out.varuint(greeting.claim.lastIndex);
  out.uint56(greeting.doubted ?? 0);
  writeNumbers(out, greeting.dissolved);
  writeNumbers(out, greeting.replaced);
  writeServers(out, greeting.voters);
  return out.take();
}

export function encodeFrame(store: StoreId, from: StorageId, to: StorageId, frame: StoreFrame): Uint8Array {
  out.byte(KIND[frame.kind]);
  out.uint56(store);
  out.uint56(from);
  out.uint56(to);
  switch (frame.kind) {
    case 'raft':
      writeMessage(out, frame.message);
      break;
    case 'propose':
      out.varuint(frame.requests.length);
      for (const { sequence, command } of frame.requests) {
        out.varuint(sequence);
        out.sized(command);
      }
      break;
    case 'refuse':
      out.byte(frame.reason === 'busy' ? 1 : 0);
      writeNumbers(out, frame.sequences);
      break;
    case 'outdated':
      out.varuint(frame.index);
      out.varuint(frame.client);
      writeNumbers(out, frame.sequences);
      break;
    case 'snapshot':
      out.varuint(frame.transfer);
      out.varuint(frame.term);
      writePoint(out, frame.point);
      out.varuint(frame.piece);
      out.byte(frame.isLast ? 1 : 0);
      out.sized(frame.bytes);
      break;
    case 'snapshotAnswer':
      out.varuint(frame.transfer);
      out.varuint(frame.next);
      out.byte(frame.ok ? 1 : 0);
      break;
    case 'promise':
      out.varuint(frame.promised.term);
      out.varuint(frame.promised.lastIndex);
      break;
  }
  return out.take();
}

export function writePoint(into: ByteWriter, point: SnapshotPoint): void {
  into.varuint(point.index);
  into.varuint(point.term);
  writeConfiguration(into, point.configuration);
}

export function readPoint(input: ByteReader): SnapshotPoint {
  return { index: input.varuint(), term: input.varuint(), configuration: readConfiguration(input) };
}

/** `undefined` for anything malformed. */
export function decodeFrame(
  bytes: Uint8Array,
  sender: NodeId,
  self: NodeId,
): Greeting | (Addressed & { readonly kind: 'addressed' }) | undefined {
  const input = new ByteReader(bytes);
  const kind = input.byte();
  if (kind === KIND.greeting) {
    const greeting = readGreeting(input);
    // Who understands more formats may say more of itself than this program knows of.
    const isWhole = input.done || (!input.failed && (greeting?.format.newest ?? 0) > NEWEST_FORMAT);
    return isWhole ? greeting : undefined;
  }
  const store = parseStoreId(input.uint56());
  const from = parseStorageId(input.uint56());
  const to = parseStorageId(input.uint56());
  if (store === undefined || from === undefined || to === undefined) return undefined;
  const servers = { from: serverIdOf(sender, from), to: serverIdOf(self, to) };
  const frame = readFrame(input, kind, servers.from, servers.to);
  return input.done && frame !== undefined ? { kind: 'addressed', store, ...servers, frame } : undefined;
}

function readGreeting(input: ByteReader): Greeting | undefined {
  const format = { newest: input.varuint(), store: input.varuint() };
  const version = input.varuint();
  const heard = input.varuint();
  const store = input.uint56();
  const storage = input.uint56();
  const flags = input.byte();
  const boot = input.uint56();
  const claim = { term: input.varuint(), lastIndex: input.varuint() };
  const doubted = parseStorageId(input.uint56());
  const dissolved = readNumbers(input);
  const replaced = readNumbers(input);
  const voters = readServers(input);
  if (input.failed || dissolved.length + replaced.length > MOST_STORES || (store === 0) !== (storage === 0))
    return undefined;
  return {
    kind: 'greeting',
    format,
    version,
    heard,
    store: parseStoreId(store),
    storage: parseStorageId(storage),
    hasData: (flags & 1) !== 0,
    mayFound: (flags & 2) !== 0,
    mayVote: (flags & 4) !== 0,
    boot,
    claim,
    doubted,
    dissolved: dissolved.flatMap((id) => parseStoreId(id) ?? []),
    replaced: replaced.flatMap((id) => parseStoreId(id) ?? []),
    voters,
  };
}

function readFrame(input: ByteReader, kind: number, from: ServerId, to: ServerId): StoreFrame | undefined {
  switch (kind) {
    case KIND.raft: {
      const message = readMessage(input, from, to);
      return message && { kind: 'raft', message };
    }
    case KIND.propose: {
      const count = input.varuint();
      const requests: { sequence: number; command: Uint8Array }[] = [];
      while (requests.length < count && !input.failed)
        requests.push({ sequence: input.varuint(), command: input.sized().slice() });
      return { kind: 'propose', requests };
    }
    case KIND.refuse: {
      const reason = input.byte() === 1 ? 'busy' : 'notLeader';
      return { kind: 'refuse', reason, sequences: readNumbers(input) };
    }
    case KIND.outdated:
      return {
        kind: 'outdated',
        index: input.varuint(),
        client: input.varuint(),
        sequences: readNumbers(input),
      };
    case KIND.snapshot: {
      const transfer = input.varuint();
      const term = input.varuint();
      const point = readPoint(input);
      const piece = input.varuint();
      const isLast = input.byte() === 1;
      return { kind: 'snapshot', transfer, term, point, piece, isLast, bytes: input.sized().slice() };
    }
    case KIND.snapshotAnswer:
      return {
        kind: 'snapshotAnswer',
        transfer: input.varuint(),
        next: input.varuint(),
        ok: input.byte() === 1,
      };
    case KIND.promise:
      return { kind: 'promise', promised: { term: input.varuint(), lastIndex: input.varuint() } };
    default:
      return undefined;
  }
}
