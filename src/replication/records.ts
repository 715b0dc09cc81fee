/**
 * Signed records on every node: small facts, each with one owner who alone may change it.
 *
 * Intuition: a board merges what anyone writes; a record is believed because of who signed it. Budgets, agents,
 * addresses and revocations are records, since a forgery of them would cost money or access.
 *
 * Method: a lattice of slots (owner, kind, key) in which the newest sequence wins, checked before it is merged
 * (form, sequence, signature, admission, room, in this order: the cheap checks first) and spread by anti-entropy; records of
 * kinds that change all the time ride along with other frames (`riding.ts`).
 * Two bodies under one sequence are proof that their owner signs two truths; the proof is kept and spreads with them.
 *
 * Limits: whoever holds an owner's key can say what it likes in that owner's name. A proof spreads only while its
 * sequence is the newest; each node keeps what it has seen. A record outlives its owner until the owner buries it.
 */
import { decode, encode, equalBytes, utf8 } from '../kernel/codec.ts';
import {
  journalRecord,
  type Mark,
  type PeerDown,
  type PeerUp,
  type Persist,
  type Received,
} from '../kernel/effects.ts';
import type { NodeId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { Machine } from '../kernel/machine.ts';
import type { Cryptography, Signer } from '../kernel/ports.ts';
import type { Rng } from '../kernel/rng.ts';
import { type Deadline, earliest, type Instant, isDue } from '../kernel/time.ts';
import { AntiEntropy, type AntiEntropyConfig, type AntiEntropyEffect } from './anti-entropy.ts';
import { SIGNATURE_COST } from './budget.ts';
import { type Equivocation, Equivocations } from './equivocations.ts';
import { encodeFrame } from './frames.ts';
import type { Lattice, Merged } from './lattice.ts';
import { OwnRecords } from './own-records.ts';
import type { RecordKind, RecordView, SignedRecord } from './record.ts';
import {
  decodeDelta,
  decodeRecord,
  encodeDelta,
  encodeRecord,
  isRecordKey,
  signedBytes,
} from './record-codec.ts';
import { deltaFor, encodeDigest, type Tag, tagNumber } from './record-digest.ts';
import { RecordIndex } from './record-index.ts';
import { type Held, isTombstone, RecordStore } from './record-store.ts';
import { Riding, slotName } from './riding.ts';

export type RecordsEvent =
  | PeerUp
  | PeerDown
  | Received
  /** The wire lost frames to this neighbour. */
  | { readonly kind: 'dropped'; readonly peer: NodeId };

/** What is visible in a slot has changed, by this node or another; an empty body is a withdrawal. */
export interface RecordChanged {
  readonly kind: 'recordChanged';
  readonly record: SignedRecord;
}

/** An older one of this node's own came back, of a kind that rides along: it is not held, and may tell of what this node forgot. */
export interface OwnReturned {
  readonly kind: 'ownReturned';
  readonly record: SignedRecord;
  readonly body: unknown;
}

export type RecordsEffect = AntiEntropyEffect | Persist | RecordChanged | OwnReturned;

export interface RecordsOptions {
  readonly self: NodeId;
  readonly signer: Signer;
  readonly cryptography: Cryptography;
  readonly config?: Partial<AntiEntropyConfig>;
  readonly rng: Rng;
  readonly now: Instant;
  /**
   * Whether the owner may have records here at all (its membership certificate, typically in its `node` record).
   * Asked once the signature is verified. A record that is not admitted is passed over without blame, and asked about
   * again whenever a neighbour offers it.
   */
  readonly admits?: (record: SignedRecord, body: unknown) => boolean;
  /** Kinds whose records ride along with other frames; the same on all nodes of a swarm. Default: none. */
  readonly rides?: readonly RecordKind[];
}

export interface PublishOptions {
  /** The effects behind it in the stream `records` wait for the disk. */
  readonly durable?: boolean;
  /** Of a kind that rides along: who should have it at once. */
  readonly to?: readonly NodeId[] | 'all';
}

const STREAM = 'records';
const SOON: Deadline = { atMs: Number.NEGATIVE_INFINITY, reason: 'records.urgent' };
/** First byte of a journal record behind its tag. */
const JOURNAL = { record: 0, life: 1, proof: 2 } as const;
/** Forged records in one frame, after which the rest is not looked at. */
const FORGERIES = 3;
const HOUR_MS = 3_600_000;
const HINTING_NEIGHBOURS = 4;

export class Records implements Machine<RecordsEvent, RecordsEffect>, RecordView {
  readonly #self: NodeId;
  readonly #signer: Signer;
  readonly #cryptography: Cryptography;
  readonly #admits: (record: SignedRecord, body: unknown) => boolean;
  readonly #store: RecordStore;
  readonly #index = new RecordIndex();
  readonly #own: OwnRecords;
  readonly #equivocations = new Equivocations();
  readonly #antiEntropy: AntiEntropy;
  readonly #rides: ReadonlySet<RecordKind>;
  readonly #riding: Riding;
  /** Neighbours that should have what they are owed now. */
  readonly #urgent = new Set<NodeId>();
  /** Own records that no neighbour has been sent. */
  readonly #unsent = new Map<string, SignedRecord>();
  /** Owners that a neighbour wants to see in detail. */
  readonly #hints = new Map<NodeId, readonly Tag[]>();
  #toPersist: Uint8Array[] = [];
  #outbox: RecordsEffect[] = [];
  #isLifePersisted = false;
  #burial: Deadline;

  constructor(options: RecordsOptions) {
    this.#self = options.self;
    this.#signer = options.signer;
    this.#cryptography = options.cryptography;
    this.#admits = options.admits ?? (() => true);
    this.#own = new OwnRecords(options.now);
    this.#rides = new Set(options.rides);
    this.#riding = new Riding(options.self);
    this.#store = new RecordStore((owner) => this.#tagOf(owner), this.#rides);
    this.#burial = nextHour(options.now);
    this.#antiEntropy = new AntiEntropy({
      self: options.self,
      channel: 'records',
      stream: STREAM,
      lattice: this.#lattice(),
      ...(options.config === undefined ? {} : { config: options.config }),
      rng: options.rng,
      now: options.now,
    });
  }

  /** True while this replica is known to lack something that a neighbour is about to give. */
  get repairing(): boolean {
    return this.#antiEntropy.repairing;
  }

  /** 16 bytes over all that is held: equal on nodes that hold the same records. */
  get root(): Uint8Array {
    return this.#store.root();
  }

  /** Owners who signed two bodies under one sequence, with both; oldest first, a few of each owner. */
  equivocations(): readonly Equivocation[] {
    return this.#equivocations.all();
  }

  body(owner: NodeId, kind: RecordKind, key: string): unknown {
    return this.#store.held(owner, kind, key)?.value;
  }

  /** Of the newest record there is; 0 where there is none. */
  sequenceOf(owner: NodeId, kind: RecordKind, key: string): number {
    return this.#store.held(owner, kind, key)?.record.sequence ?? 0;
  }

  ofKind(
    kind: RecordKind,
  ): readonly { readonly owner: NodeId; readonly key: string; readonly body: unknown }[] {
    return this.#index.ofKind(kind);
  }

  /**
   * Signs and spreads a record of this node's own; `undefined` withdraws it. The same body again changes nothing,
   * and with `durable` the effects behind it in the stream `records` wait for the disk in any case.
   */
  publish(
    kind: RecordKind,
    key: string,
    body: unknown,
    now: Instant,
    options: PublishOptions = {},
  ): readonly RecordsEffect[] {
    const durable = options.durable ?? false;
    const bytes = body === undefined ? new Uint8Array(0) : new Uint8Array(encode(body));
    if (
      bytes.length > limits.recordBytes ||
      !isRecordKey(key) ||
      (body !== undefined && bytes.length === 0)
    ) {
      return [mark('error', 'records.notPublished', { kind, key, bytes: bytes.length })];
    }
    this.#own.desire({ kind, key, body: bytes });
    if (this.#rides.has(kind))
      for (const peer of options.to === 'all' ? this.#antiEntropy.neighbours : (options.to ?? []))
        this.#urgent.add(peer);
    const held = this.#store.held(this.#self, kind, key);
    if (held === undefined && body === undefined) return [];
    if (held !== undefined && equalBytes(held.record.body, bytes)) {
      return durable ? [persist([journal(held.record)], true)] : [];
    }
    this.#sign(kind, key, bytes, now);
    return this.#drain(durable);
  }

  /** False where `cargoFor` finds nothing for anybody. */
  get hasCargo(): boolean {
    return !this.#riding.isEmpty;
  }

  /** A frame goes to the neighbour now: what it may take along, as a frame of the channel `records`. */
  cargoFor(peer: NodeId, now: Instant): Uint8Array | undefined {
    return this.#owedTo(peer, true, now);
  }

  handle(event: RecordsEvent, now: Instant): readonly RecordsEffect[] {
    if (event.kind === 'peerUp') this.#greet(event.peer, now);
    if (event.kind === 'peerDown') {
      this.#hints.delete(event.peer);
      this.#urgent.delete(event.peer);
      this.#riding.down(event.peer);
    }
    const effects = this.#antiEntropy.handle(event, now);
    return [...this.#drain(false), ...effects];
  }

  /** What is held of its own goes there at once. */
  #greet(peer: NodeId, now: Instant): void {
    this.#riding.up(peer);
    for (const { newest } of this.#store.owner(peer)?.slots.values() ?? []) {
      const { record } = newest;
      if (!this.#rides.has(record.kind) || isTombstone(record)) continue;
      this.#riding.owe(record, peer, now);
      this.#urgent.add(peer);
    }
  }

  expire(now: Instant): readonly RecordsEffect[] {
    for (const { kind, key, body } of this.#own.takeDue(now)) this.#sign(kind, key, body, now);
    if (isDue(this.#burial, now)) {
      this.#burial = nextHour(now);
      this.#store.bury(burialLine(now));
    }
    const effects = this.#antiEntropy.expire(now);
    return [...this.#drain(false), ...this.#sendUrgent(now), ...effects];
  }

  deadline(): Deadline | undefined {
    const dueMs = this.#own.deadlineMs;
    return earliest([
      this.#antiEntropy.deadline(),
      this.#urgent.size === 0 ? this.#riding.deadline() : SOON,
      this.#burial,
      dueMs === undefined ? undefined : { atMs: dueMs, reason: 'records.republish' },
    ]);
  }

  /** Journal records without their tag, in the order written. Call once, before anything else. */
  load(records: readonly Uint8Array[], now: Instant): readonly RecordsEffect[] {
    let unreadable = 0;
    this.#store.bury(burialLine(now));
    for (const record of records) if (!this.#loadOne(record)) unreadable++;
    this.#outbox = [];
    this.#toPersist = [];
    return unreadable === 0 ? [] : [mark('error', 'records.unreadable', { records: unreadable })];
  }

  /** The whole state as journal records; may be consumed while the machine goes on. */
  *checkpoint(): Generator<Uint8Array> {
    yield this.#life();
    // Proofs first: those that the records below make again must not take the place of older ones.
    for (const { first, second } of this.#equivocations.all()) {
      yield journalRecord(
        'record',
        tagged(JOURNAL.proof, encode([encodeRecord(first), encodeRecord(second)])),
      );
    }
    for (const { record } of this.#store.all()) yield journal(record);
  }

  #lattice(): Lattice {
    return {
      root: () => this.#store.root(),
      digest: () => encodeDigest(this.#store, new Set([...this.#hints.values()].flat())),
      delta: (theirs, _peer, maxBytes) => deltaFor(this.#store, theirs, maxBytes),
      shownRoot: (now) => (this.#riding.isComparing(now) ? this.#store.root() : this.#store.lastingRoot()),
      agrees: (root, now) =>
        equalBytes(root, this.#store.root()) ||
        equalBytes(root, this.#store.lastingRoot()) ||
        this.#riding.hadRoot(root, now),
      merge: (delta, from, now, _room, isPushed) => this.#merge(delta, from, isPushed ?? false, now),
      takePushes: () => this.#takePushes(),
    };
  }

  /** Signatures checked for the frame that is being taken in. */
  #checks = 0;

  #merge(bytes: Uint8Array, from: NodeId, isPushed: boolean, now: Instant): Merged {
    const delta = decodeDelta(bytes);
    if (delta === undefined) return { kind: 'refused', reason: 'malformed records' };
    this.#hints.delete(from);
    if (delta.hints.length > 0 && this.#hints.size < HINTING_NEIGHBOURS) {
      this.#hints.set(from, delta.hints.map(tagNumber));
    }
    const before = this.#store.root();
    const lastingBefore = this.#store.lastingRoot();
    let refused: string | undefined;
    let forgeries = 0;
    this.#checks = 0;
    for (const record of delta.records) {
      const reason = this.#take(record, isPushed ? from : undefined, now);
      if (reason === undefined) continue;
      refused = reason;
      if (++forgeries >= FORGERIES) break;
    }
    if (refused !== undefined) return { kind: 'refused', reason: refused };
    const cost = delta.records.length + this.#checks * SIGNATURE_COST;
    const changed = !equalBytes(before, this.#store.root());
    const wasLost = changed && !isPushed && this.#riding.found(now);
    const isQuiet = !wasLost && equalBytes(lastingBefore, this.#store.lastingRoot());
    return { kind: 'merged', changed, isQuiet, cost };
  }

  /** The reason where a record breaks the rules; one that is merely old, known or not admitted is passed over. */
  #take(record: SignedRecord, pushedBy: NodeId | undefined, now: Instant): string | undefined {
    const standing = this.#store.standing(record);
    if (standing === 'known' && pushedBy !== undefined) this.#riding.knows(pushedBy, slotName(record));
    const isOwn = record.owner === this.#self;
    const isOwnOld = standing === 'old' && isOwn && this.#rides.has(record.kind) && !isTombstone(record);
    if ((standing === 'old' && !isOwnOld) || standing === 'known') return undefined;
    const signed = signedBytes(record);
    this.#checks++;
    if (!this.#cryptography.verifyNode(record.owner, signed, record.signature)) {
      return `forged record of ${record.owner}`;
    }
    const held = this.#hold(record, signed);
    if (held === undefined) return `unreadable record of ${record.owner}`;
    if (isOwnOld) this.#outbox.push({ kind: 'ownReturned', record, body: held.value });
    else if (isOwn) this.#returned(held, now);
    else if (!this.#admits(record, held.value)) this.#pass(record, 'not admitted');
    else if (!this.#store.hasRoom(held)) this.#pass(record, 'no room');
    else {
      // What was asked for is on its way to the others by itself.
      if (pushedBy !== undefined) this.#ride(record, pushedBy, now);
      this.#put(held);
    }
    return undefined;
  }

  #returned(held: Held, now: Instant): void {
    const { record } = held;
    const { kind, key } = record;
    const isEmpty = this.#store.held(this.#self, kind, key) === undefined;
    const fate = this.#own.returned(record, isEmpty, now);
    if (fate !== 'buried') this.#put(held);
    const level = fate === 'contested' ? 'error' : 'warn';
    this.#outbox.push(mark(level, 'records.returned', { kind, key, sequence: record.sequence, fate }));
  }

  #pass(record: SignedRecord, reason: string): void {
    const { owner, kind, key } = record;
    this.#outbox.push(mark('debug', 'records.passedOver', { owner, kind, key, reason }));
  }

  #put(held: Held): void {
    const { visible, pair } = this.#store.put(held);
    this.#toPersist.push(journal(held.record));
    if (pair !== undefined) {
      const [{ record: first }, { record: second }] = pair;
      if (this.#equivocations.keep(first, second)) {
        const { owner, kind, key, sequence } = first;
        this.#outbox.push(mark('error', 'records.equivocation', { owner, kind, key, sequence }));
      }
    }
    if (!visible) return;
    const { owner, kind, key } = held.record;
    this.#index.set(owner, kind, key, held.value);
    this.#outbox.push({ kind: 'recordChanged', record: held.record });
  }

  #sign(kind: RecordKind, key: string, body: Uint8Array, now: Instant): void {
    const sequence = this.#own.nextSequence(now);
    if (sequence === undefined) {
      this.#outbox.push(mark('error', 'records.notPublished', { kind, key, reason: 'no sequence left' }));
      return;
    }
    const unsigned = { owner: this.#self, kind, key, sequence, body };
    const signed = signedBytes(unsigned);
    const record: SignedRecord = { ...unsigned, signature: this.#signer.sign(signed) };
    const held = this.#hold(record, signed);
    if (held === undefined || !this.#store.hasRoom(held)) {
      this.#outbox.push(mark('error', 'records.notPublished', { kind, key, reason: 'no room' }));
      return;
    }
    if (!this.#isLifePersisted) this.#toPersist.push(this.#life());
    this.#isLifePersisted = true;
    if (this.#ride(record, undefined, now)) {
      this.#put(held);
      return;
    }
    this.#put(held);
    this.#unsent.set(`${kind} ${key}`, record);
    this.#antiEntropy.handle({ kind: 'changed' }, now);
  }

  /** It is about to be held. True where it is of a kind that rides along. */
  #ride(record: SignedRecord, from: NodeId | undefined, now: Instant): boolean {
    if (!this.#rides.has(record.kind)) return false;
    this.#riding.changed(record, from, this.#store.root(), now);
    return true;
  }

  /** What the neighbour is owed, as a frame; as much as one takes along. */
  #owedTo(peer: NodeId, inPassing: boolean, now: Instant): Uint8Array | undefined {
    const records: SignedRecord[] = [];
    let bytes = 0;
    for (const slot of this.#riding.owedTo(peer, inPassing, now)) {
      const held = this.#store.held(slot.owner, slot.kind, slot.key);
      this.#riding.told(peer, slot);
      if (held === undefined) continue;
      records.push(held.record);
      bytes += held.record.body.length;
      if (bytes >= limits.rideBytes || records.length >= limits.recordsPerFrame) break;
    }
    return records.length === 0
      ? undefined
      : encodeFrame({ kind: 'push', delta: encodeDelta({ records, hints: [] }) });
  }

  #sendUrgent(now: Instant): readonly RecordsEffect[] {
    const peers = new Set([...this.#urgent, ...this.#riding.takeAlone(now)]);
    this.#urgent.clear();
    const effects: RecordsEffect[] = [];
    for (const peer of peers) {
      for (
        let bytes = this.#owedTo(peer, false, now);
        bytes !== undefined;
        bytes = this.#owedTo(peer, false, now)
      )
        effects.push({ kind: 'send', stream: STREAM, to: [peer], channel: 'records', bytes });
    }
    return effects;
  }

  #hold(record: SignedRecord, signed: Uint8Array): Held | undefined {
    // A view of its own: the decoder leaves a DataView behind on what it is given, and this body is kept.
    const value = isTombstone(record) ? undefined : decode(record.body.subarray());
    if (value === undefined && !isTombstone(record)) return undefined;
    return { record, hash: this.#cryptography.hash(signed).slice(0, 16), value };
  }

  #takePushes(): readonly Uint8Array[] {
    const pushes: Uint8Array[] = [];
    let records: SignedRecord[] = [];
    let bytes = 0;
    const flush = (): void => {
      if (records.length > 0) pushes.push(encodeDelta({ records, hints: [] }));
      records = [];
      bytes = 0;
    };
    for (const record of this.#unsent.values()) {
      records.push(record);
      bytes += record.body.length;
      if (bytes >= limits.repairBytes || records.length >= limits.recordsPerFrame) flush();
    }
    flush();
    this.#unsent.clear();
    return pushes;
  }

  #drain(durable: boolean): readonly RecordsEffect[] {
    const effects =
      this.#toPersist.length === 0 ? this.#outbox : [persist(this.#toPersist, durable), ...this.#outbox];
    this.#toPersist = [];
    this.#outbox = [];
    return effects;
  }

  #loadOne(bytes: Uint8Array): boolean {
    const payload = bytes.subarray(1);
    switch (bytes[0]) {
      case JOURNAL.record: {
        const record = decodeRecord(payload);
        const held = record === undefined ? undefined : this.#hold(record, signedBytes(record));
        if (held === undefined) return false;
        if (held.record.owner === this.#self) this.#own.saw(held.record.sequence);
        const standing = this.#store.standing(held.record);
        if ((standing === 'newer' || standing === 'rival') && this.#store.hasRoom(held)) this.#put(held);
        return true;
      }
      case JOURNAL.life: {
        const life = decode(payload);
        if (!isLife(life)) return false;
        this.#own.remember(life);
        this.#isLifePersisted = true;
        return true;
      }
      case JOURNAL.proof:
        return this.#loadProof(decode(payload));
      default:
        return false;
    }
  }

  #loadProof(pair: unknown): boolean {
    if (!Array.isArray(pair)) return false;
    const [first, second] = (pair as unknown[]).map((bytes) =>
      bytes instanceof Uint8Array ? decodeRecord(bytes) : undefined,
    );
    if (first === undefined || second === undefined) return false;
    this.#equivocations.keep(first, second);
    return true;
  }

  #life(): Uint8Array {
    return journalRecord('record', tagged(JOURNAL.life, encode(this.#own.life)));
  }

  #tagOf(owner: NodeId): Uint8Array {
    return this.#cryptography.hash(utf8(owner)).slice(0, 8);
  }
}

function journal(record: SignedRecord): Uint8Array {
  return journalRecord('record', tagged(JOURNAL.record, encodeRecord(record)));
}

function isLife(value: unknown): value is [bornMs: number, last: number] {
  return Array.isArray(value) && value.length === 2 && value.every((part) => Number.isSafeInteger(part));
}

function tagged(tag: number, bytes: Uint8Array): Uint8Array {
  const whole = new Uint8Array(bytes.length + 1);
  whole[0] = tag;
  whole.set(bytes, 1);
  return whole;
}

function persist(records: readonly Uint8Array[], durable: boolean): Persist {
  return { kind: 'persist', stream: STREAM, records, durable };
}

function mark(level: Mark['level'], name: string, fields: Mark['fields']): Mark {
  return { kind: 'mark', level, name, fields };
}

/** On the hour by the wall clock, so that all replicas drop the same tombstones at about the same time. */
function nextHour(now: Instant): Deadline {
  return { atMs: now.monoMs + HOUR_MS - (now.wallMs % HOUR_MS), reason: 'records.bury' };
}

function burialLine(now: Instant): number {
  return Math.floor(now.wallMs / HOUR_MS) * HOUR_MS - limits.recordTombstoneMs;
}
