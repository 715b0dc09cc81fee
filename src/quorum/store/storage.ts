/**
 * What the quorum store keeps in the journal, and how it is read back.
 *
 * Records carry a sequence of their own that only grows. A checkpoint says up to which sequence it reflects the
 * state, so that records of the log from before it was taken, which may stand behind it in the journal, are not
 * replayed over newer state: Raft's state does not merge, and going back would be forgetting a promise.
 */
import { ByteReader, ByteWriter } from '../../kernel/bytes.ts';
import { journalRecord } from '../../kernel/effects.ts';
import { limits } from '../../kernel/limits.ts';
import { readPoint, writePoint } from '../frames.ts';
import { readEntries, readNumbers, writeEntries, writeNumbers } from '../message-codec.ts';
import type { HardState, LogEntry, Restored, ServerId, SnapshotPoint } from '../raft/types.ts';
import { NEWEST_FORMAT } from '../register/format.ts';
import { Register } from '../register/register.ts';
import { Restorer } from '../register/restorer.ts';
import { parseServerId, parseStorageId, parseStoreId, type StorageId, type StoreId } from '../server.ts';

/** Which store this node carries, and on which storage. */
export interface Carried {
  readonly store: StoreId;
  readonly storage: StorageId;
}

export interface StoredIdentity {
  readonly carried: Carried | undefined;
  readonly dissolved: readonly StoreId[];
  /** Stores that the carried one goes on from, after their majority was lost. */
  readonly replaced: readonly StoreId[];
  /** Of stores that were given up: the carried one is to go on above it, or its fencing tokens would be handed out again. */
  readonly revisionToPass: number;
}

export interface Stored {
  readonly identity: StoredIdentity | undefined;
  readonly restored: Restored;
  readonly register: Register;
}

const RECORD = {
  identity: 0,
  hardState: 1,
  entries: 2,
  piece: 3,
  checkpoint: 4,
  part: 5,
  installed: 6,
} as const;
const IDENTITY = { same: 0, new: 1, checkpoint: 2 } as const;
const CHECKPOINT_FORMAT = 1;
export const EMPTY_POINT: SnapshotPoint = {
  index: 0,
  term: 0,
  configuration: { incoming: [], outgoing: [] },
};

/** Everything of one moment, for a checkpoint. */
export interface Captured {
  readonly identity: StoredIdentity;
  readonly hardState: HardState;
  readonly point: SnapshotPoint;
  readonly pieces: Iterable<Uint8Array>;
  readonly entries: readonly LogEntry[];
  /** Given to the disk so far, but not counted yet: the log and `point` are of before them. At most one is not whole, the last. */
  readonly incoming: readonly Incoming[];
}

/** A leader's snapshot on its way to the disk, piece by piece; until it is whole a restart drops what there is of it. */
export interface Incoming {
  /** No two have the same: the sequence of its first piece. */
  readonly id: number;
  readonly point: SnapshotPoint;
  /** Those that were given to the disk. */
  readonly pieces: readonly Uint8Array[];
  readonly isWhole: boolean;
}

/** Makes the journal's records. */
export class StorageWriter {
  #sequence: number;
  readonly #out = new ByteWriter(4096);

  /** `lastSequence`: of what was read. */
  constructor(lastSequence: number) {
    this.#sequence = lastSequence;
  }

  /** `new`: the store is begun anew, whatever was kept of another is forgotten. `checkpoint`: of a node without one. */
  identity(identity: StoredIdentity, kind: keyof typeof IDENTITY): Uint8Array {
    return this.#record(RECORD.identity, (out) => {
      out.byte(IDENTITY[kind]);
      writeIdentity(out, identity);
    });
  }

  hardState(state: HardState): Uint8Array {
    return this.#record(RECORD.hardState, (out) => writeHardState(out, state));
  }

  entries(entries: readonly LogEntry[]): readonly Uint8Array[] {
    // One record where it can be read back as one: its bytes are then those of the frame to the followers.
    const parts = entries.length > CHUNK_ENTRIES || isLong(entries) ? chunksOf(entries) : [entries];
    return [...parts].map((part) => this.#record(RECORD.entries, (out) => writeEntries(out, part)));
  }

  /** The next piece of a leader's snapshot, the first of another where `incoming` is undefined. Other records may stand between. */
  part(
    incoming: Incoming | undefined,
    point: SnapshotPoint,
    bytes: Uint8Array,
  ): { readonly incoming: Incoming; readonly record: Uint8Array } {
    const id = incoming?.id ?? this.#sequence + 1;
    const before = incoming?.pieces ?? [];
    const record = this.#record(RECORD.part, (out) => writePart(out, id, before.length, bytes));
    return { incoming: { id, point, pieces: [...before, bytes], isWhole: false }, record };
  }

  /** Makes the pieces count. */
  whole(incoming: Incoming): { readonly incoming: Incoming; readonly record: Uint8Array } {
    const record = this.#record(RECORD.installed, (out) => writeInstalled(out, incoming));
    return { incoming: { ...incoming, isWhole: true }, record };
  }

  /** Reflects all records made before `captured` was taken: call it in the same breath. */
  *checkpoint(captured: Captured): Generator<Uint8Array> {
    this.#sequence++;
    const reflects = this.#sequence;
    const numbered = (kind: number, write: (out: ByteWriter) => void) =>
      this.#numbered(reflects, kind, write);
    for (const bytes of captured.pieces) yield numbered(RECORD.piece, (out) => out.sized(bytes));
    yield numbered(RECORD.checkpoint, (out) => {
      out.byte(CHECKPOINT_FORMAT);
      writePoint(out, captured.point);
      writeIdentity(out, captured.identity);
      writeHardState(out, captured.hardState);
    });
    for (const chunk of chunksOf(captured.entries))
      yield numbered(RECORD.entries, (out) => writeEntries(out, chunk));
    for (const incoming of captured.incoming) {
      for (const [at, bytes] of incoming.pieces.entries())
        yield numbered(RECORD.part, (out) => writePart(out, incoming.id, at, bytes));
      if (incoming.isWhole) yield numbered(RECORD.installed, (out) => writeInstalled(out, incoming));
    }
  }

  /** What was begun and broken off is not gone on with: what comes next must not look like its rest. */
  breakOff(): void {
    this.#sequence++;
  }

  #record(kind: number, write: (out: ByteWriter) => void): Uint8Array {
    this.#sequence++;
    return this.#numbered(this.#sequence, kind, write);
  }

  #numbered(sequence: number, kind: number, write: (out: ByteWriter) => void): Uint8Array {
    const out = this.#out;
    out.byte(kind);
    out.varuint(sequence);
    write(out);
    const record = journalRecord('quorum', out.view());
    out.clear();
    return record;
  }
}

const CHUNK_BYTES = 256 * 1024;
const CHUNK_ENTRIES = 16_384;
/** So few have at most the size of a record. */
const FEW_ENTRIES = 16;

function isLong(entries: readonly LogEntry[]): boolean {
  if (entries.length <= FEW_ENTRIES) return false;
  let bytes = 0;
  for (const entry of entries) if (entry.kind === 'command') bytes += entry.command.length;
  return bytes > limits.journalRecordBytes / 2;
}

function* chunksOf(entries: readonly LogEntry[]): Generator<readonly LogEntry[]> {
  let chunk: LogEntry[] = [];
  let bytes = 0;
  for (const entry of entries) {
    chunk.push(entry);
    bytes += 16 + (entry.kind === 'command' ? entry.command.length : 256);
    if (bytes < CHUNK_BYTES) continue;
    yield chunk;
    chunk = [];
    bytes = 0;
  }
  if (chunk.length > 0) yield chunk;
}

/**
 * Takes the journal's records in order and says what state they leave. A record that cannot be read breaks the store:
 * `damaged`.
 *
 * Where the journal was damaged, any record may be missing. Sequences then tell: what stands behind a hole may rest on
 * what was lost in it (entries that took the place of others), so nothing of it is taken before the store begins anew.
 */
export class StorageReader {
  readonly #isSuspect: boolean;
  readonly #newestFormat: number;
  #neededFormat: number | undefined;
  #isBehindHole = false;
  /** Of the record before. */
  #previous = 0;
  #identity: StoredIdentity | undefined;
  #hardState: HardState = { term: 0, votedFor: undefined };
  #point = EMPTY_POINT;
  #entries: LogEntry[] = [];
  #register = new Register();
  #restorer: Restorer | undefined;
  #incoming: { readonly id: number; readonly restorer: Restorer; pieces: number } | undefined;
  /** What the last checkpoint reflects: records with a lower sequence are older than it. */
  #reflected = 0;
  #lastSequence = 0;
  #damaged = false;

  /** `isSuspect`: the journal may lack records. */
  constructor(isSuspect = false, newestFormat = NEWEST_FORMAT) {
    this.#isSuspect = isSuspect;
    this.#newestFormat = newestFormat;
  }

  /** The store was kept by a newer program, in a format that this one does not understand; `stored` then knows no more than whose it is. */
  get neededFormat(): number | undefined {
    return this.#neededFormat;
  }

  /** One is left out behind a store that was being begun when a crash cut it off: what comes next must not look like its rest. */
  get lastSequence(): number {
    return this.#restorer === undefined ? this.#lastSequence : this.#lastSequence + 1;
  }

  /** Something could not be read: what this storage promised may be forgotten, so it must not vote any more. */
  get damaged(): boolean {
    return this.#damaged;
  }

  take(record: Uint8Array): void {
    const input = new ByteReader(record);
    const kind = input.byte();
    const sequence = input.varuint();
    if (sequence < this.#reflected) return;
    if (this.#isSuspect && sequence > this.#lastSequence + 1) this.#isBehindHole = true;
    // The pieces of a checkpoint stand together: where they break off, a crash cut them off.
    const isNext = sequence === this.#previous || sequence === this.#previous + 1;
    if (!isNext || (kind !== RECORD.piece && kind !== RECORD.checkpoint)) this.#restorer = undefined;
    this.#lastSequence = Math.max(this.#lastSequence, sequence);
    this.#previous = sequence;
    this.#apply(kind, sequence, input);
    if (!input.done) this.#damaged = true;
  }

  stored(): Stored {
    return {
      identity: this.#identity,
      restored: { hardState: this.#hardState, point: this.#point, entries: this.#entries },
      register: this.#register,
    };
  }

  #apply(kind: number, sequence: number, input: ByteReader): void {
    switch (kind) {
      case RECORD.identity:
        this.#takeIdentity(sequence, input);
        return;
      case RECORD.hardState: {
        const state = readHardState(input);
        if (!input.failed && !this.#isBehindHole) this.#hardState = state;
        return;
      }
      case RECORD.entries: {
        const entries = readEntries(input);
        if (!input.failed && !this.#isBehindHole) this.#place(entries);
        return;
      }
      case RECORD.piece:
        this.#restorer ??= this.#newRestorer();
        this.#restorer.take(input.sized());
        return;
      case RECORD.checkpoint:
        this.#finishCheckpoint(sequence, input);
        return;
      case RECORD.part:
        this.#takePart(input);
        return;
      case RECORD.installed:
        this.#finishIncoming(input);
        return;
      default:
        input.fail();
    }
  }

  #takeIdentity(sequence: number, input: ByteReader): void {
    const kind = input.byte();
    const identity = readIdentity(input);
    if (input.failed) return;
    if (kind === IDENTITY.checkpoint) this.#reflected = sequence;
    if (kind !== IDENTITY.same) this.#reset();
    if (!this.#isBehindHole) this.#identity = identity;
  }

  #reset(): void {
    this.#hardState = { term: 0, votedFor: undefined };
    this.#point = EMPTY_POINT;
    this.#entries = [];
    this.#register = new Register();
    this.#incoming = undefined;
    this.#isBehindHole = false;
    this.#neededFormat = undefined;
  }

  #finishCheckpoint(sequence: number, input: ByteReader): void {
    if (input.byte() !== CHECKPOINT_FORMAT) input.fail();
    const point = readPoint(input);
    const register = this.#restorer?.finish();
    const neededFormat = this.#restorer?.neededFormat;
    this.#restorer = undefined;
    const identity = readIdentity(input);
    const hardState = readHardState(input);
    if (input.failed) return;
    this.#reset();
    this.#identity = identity;
    this.#hardState = hardState;
    this.#reflected = sequence;
    this.#isBehindHole = register === undefined;
    this.#neededFormat = neededFormat;
    if (register === undefined) {
      if (neededFormat === undefined) input.fail();
      return;
    }
    this.#point = point;
    this.#register = register;
  }

  #newRestorer(): Restorer {
    return new Restorer(undefined, this.#newestFormat);
  }

  #takePart(input: ByteReader): void {
    const id = input.varuint();
    const at = input.varuint();
    const bytes = input.sized();
    if (input.failed) return;
    if (at === 0) this.#incoming = { id, restorer: this.#newRestorer(), pieces: 0 };
    const incoming = this.#incoming;
    if (incoming?.id !== id || incoming.pieces !== at) return;
    incoming.restorer.take(bytes);
    incoming.pieces++;
  }

  #finishIncoming(input: ByteReader): void {
    const id = input.varuint();
    const pieces = input.varuint();
    const point = readPoint(input);
    if (input.failed) return;
    const incoming = this.#incoming;
    this.#incoming = undefined;
    const isAll = incoming?.id === id && incoming.pieces === pieces;
    const register = isAll ? incoming.restorer.finish() : undefined;
    this.#neededFormat ??= incoming?.restorer.neededFormat;
    if (register === undefined) {
      if (incoming?.restorer.neededFormat === undefined) input.fail();
      return;
    }
    // Of two that were on their way to the disk at once, the older does not take back the newer.
    if (this.#isBehindHole || point.index <= this.#point.index) return;
    this.#keepAfter(point);
    this.#point = point;
    this.#register = register;
  }

  /** Entries behind a snapshot stay where its last entry is the log's own. */
  #keepAfter(point: SnapshotPoint): void {
    const at = this.#entries.findIndex((entry) => entry.index === point.index);
    this.#entries = at >= 0 && this.#entries[at]?.term === point.term ? this.#entries.slice(at + 1) : [];
  }

  #place(entries: readonly LogEntry[]): void {
    const first = entries[0];
    if (first === undefined) return;
    const from = this.#point.index + 1;
    const keep = first.index - from;
    if (keep > this.#entries.length) {
      // A gap: what stood between is lost, and with it what was acknowledged.
      this.#damaged = true;
      return;
    }
    this.#entries.length = Math.max(0, keep);
    for (const entry of entries) if (entry.index >= from) this.#entries.push(entry);
  }
}

function writePart(out: ByteWriter, id: number, at: number, bytes: Uint8Array): void {
  out.varuint(id);
  out.varuint(at);
  out.sized(bytes);
}

function writeInstalled(out: ByteWriter, { id, pieces, point }: Incoming): void {
  out.varuint(id);
  out.varuint(pieces.length);
  writePoint(out, point);
}

function writeIdentity(out: ByteWriter, identity: StoredIdentity): void {
  out.uint56(identity.carried?.store ?? 0);
  out.uint56(identity.carried?.storage ?? 0);
  writeNumbers(out, identity.dissolved);
  writeNumbers(out, identity.replaced);
  out.varuint(identity.revisionToPass);
}

function readIdentity(input: ByteReader): StoredIdentity {
  const store = parseStoreId(input.uint56());
  const storage = parseStorageId(input.uint56());
  const dissolved = readNumbers(input).flatMap((id) => parseStoreId(id) ?? []);
  const replaced = readNumbers(input).flatMap((id) => parseStoreId(id) ?? []);
  const revisionToPass = input.varuint();
  const carried = store === undefined || storage === undefined ? undefined : { store, storage };
  return { carried, dissolved, replaced, revisionToPass };
}

function writeHardState(out: ByteWriter, state: HardState): void {
  out.varuint(state.term);
  out.text(state.votedFor ?? '');
}

function readHardState(input: ByteReader): HardState {
  const term = input.varuint();
  const text = input.text(80);
  if (text !== '' && parseServerId(text) === undefined) input.fail();
  return { term, votedFor: text === '' ? undefined : (text as ServerId) };
}
