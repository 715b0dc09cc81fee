/**
 * Which store this node carries, on which storage, and what of it is on disk: taking one up, giving it up, and going
 * on alone when the majority is lost for good.
 */
import { journalRecord, type Mark } from '../../kernel/effects.ts';
import type { NodeId } from '../../kernel/ids.ts';
import type { Rng } from '../../kernel/rng.ts';
import type { Instant } from '../../kernel/time.ts';
import type { QuorumEffect } from '../messages.ts';
import type { LogIndex, RaftConfig, Restored, Term } from '../raft/types.ts';
import { encodeCommand } from '../register/command.ts';
import type { FormatFacts } from '../register/format.ts';
import { Register } from '../register/register.ts';
import {
  parseStorageId,
  parseStoreId,
  type StorageId,
  type StoreId,
  serverIdOf,
  storeName,
} from '../server.ts';
import type { Claim } from './evidence.ts';
import { EMPTY_REVISION, Replica } from './replica.ts';
import { type Carried, EMPTY_POINT, StorageReader, StorageWriter, type StoredIdentity } from './storage.ts';

interface CarrierOptions {
  readonly self: NodeId;
  readonly raft: RaftConfig;
  /** That this program understands. */
  readonly newestFormat: number;
  /** Random safe integers above 0, none twice. */
  readonly freshId: () => number;
  readonly rng: Rng;
}

const STREAM = 'quorum';
const NO_CLAIM: Claim = { term: 0, lastIndex: 0 };
/** Stores that are remembered as gone. */
const GONE = 16;
/** More revisions than can have been made while this node did not hear of them. */
const RECOVERY_STEP = 2 ** 32;
/** Of a store that is begun, what is given to the disk at once. */
const PORTION_BYTES = 8 * 1024 * 1024;

export class Carrier {
  readonly #options: CarrierOptions;
  #identity: StoredIdentity = { carried: undefined, dissolved: [], replaced: [], revisionToPass: 0 };
  #writer = new StorageWriter(0);
  #replica: Replica | undefined;
  #generation = 0;
  #isFresh = true;
  #claim = NO_CLAIM;
  /** What a newer program kept here, which this one does not understand: left as it is, for a program that does. */
  #sealed: { readonly format: number; readonly records: readonly Uint8Array[] } | undefined;
  /** What is not yet given to the disk of a store that is begun, and the moment awaited before more is. */
  #beginning: { readonly rest: Iterator<Uint8Array>; readonly awaited: number } | undefined;
  /** Below all that a replica awaits, whose generation is at least 1. */
  #awaited = 0;

  constructor(options: CarrierOptions) {
    this.#options = options;
  }

  get identity(): StoredIdentity {
    return this.#identity;
  }

  get replica(): Replica | undefined {
    return this.#replica;
  }

  get store(): StoreId | undefined {
    return this.#identity.carried?.store;
  }

  /** Of the store that is carried, where this program does not understand it: then it takes no part in it. */
  get neededFormat(): number | undefined {
    return this.#sealed?.format ?? this.#replica?.neededFormat;
  }

  get newestFormat(): number {
    return this.#options.newestFormat;
  }

  /** The store's as far as this node knows. */
  get format(): FormatFacts {
    const store = this.neededFormat ?? this.#replica?.register.format ?? 0;
    return { newest: this.newestFormat, store };
  }

  /** What the carried storage held when the node started; nothing for one that was begun since. */
  get claim(): Claim {
    return this.#claim;
  }

  /** This data saw no store yet, and nothing of it was lost: whoever holds it cannot have forgotten one. */
  get isFresh(): boolean {
    return this.#isFresh && this.#identity.carried === undefined && this.#identity.dissolved.length === 0;
  }

  /** A client wrote to it, as far as this node knows. */
  get hasData(): boolean {
    return (this.#replica?.register.revision ?? EMPTY_REVISION) > EMPTY_REVISION;
  }

  /** The store is begun, but a crash would leave what was before: nobody hears of it, and it takes part in nothing. */
  get isBeginning(): boolean {
    return this.#beginning !== undefined;
  }

  /** Nothing of the carried store ever came here, not even who votes in it. */
  get isUnknown(): boolean {
    const replica = this.#replica;
    return replica?.raft.lastIndex === 0 && replica.raft.configuration.incoming.length === 0;
  }

  /** The same, or its log may hold such a write that was not applied yet: it may have been acknowledged. */
  get mayHoldData(): boolean {
    return this.hasData || this.#replica?.hasUnappliedCalls === true;
  }

  /**
   * What the journal held. `isSuspect`: some of it was damaged and set aside, so what this storage once promised may
   * be forgotten; the node then goes on as another server, which never voted.
   */
  load(records: readonly Uint8Array[], isSuspect: boolean, now: Instant): readonly QuorumEffect[] {
    const reader = new StorageReader(isSuspect, this.#options.newestFormat);
    for (const record of records) reader.take(record);
    const { identity, restored, register } = reader.stored();
    this.#writer = new StorageWriter(reader.lastSequence);
    const before = identity ?? this.#identity;
    const isLost = isSuspect || reader.damaged;
    const { carried } = before;
    this.#isFresh = identity === undefined && !isLost;
    if (reader.neededFormat !== undefined) return this.#seal(before, reader.neededFormat, records);
    this.#identity = {
      ...before,
      carried: carried !== undefined && isLost ? { ...carried, storage: this.#freshStorage() } : carried,
    };
    if (this.#identity.carried === undefined) return [];
    // Another storage has promised nothing.
    if (!isLost) this.#claim = { term: restored.hardState.term, lastIndex: lastIndexOf(restored) };
    this.#replica = this.#makeReplica(this.#identity.carried, restored, register, now);
    if (carried === undefined || !isLost) return [];
    const persisted = this.#persist([this.#writer.identity(this.#identity, 'same')]);
    return [persisted, mark('warn', 'quorum.storageSuspect', carried.store)];
  }

  #seal(identity: StoredIdentity, format: number, records: readonly Uint8Array[]): readonly QuorumEffect[] {
    this.#identity = identity;
    this.#sealed = { format, records };
    const { carried } = identity;
    return carried === undefined ? [] : [mark('error', 'quorum.formatTooNew', carried.store)];
  }

  /** Others heard this storage promise more than it holds: the node goes on as another server, with what it has. */
  renounce(now: Instant): readonly QuorumEffect[] {
    const old = this.#replica;
    const { carried } = this.#identity;
    if (old === undefined || carried === undefined) return [];
    this.#identity = { ...this.#identity, carried: { ...carried, storage: this.#freshStorage() } };
    this.#claim = NO_CLAIM;
    const { hardState } = old.raft;
    const point = old.appliedPoint;
    // Of its own entries a leader may have ordered none to disk yet.
    const entries = old.raft.entries().filter(({ index }) => index > point.index);
    this.#replica = this.#makeReplica(
      this.#identity.carried as Carried,
      { hardState, point, entries },
      old.register,
      now,
    );
    const persisted = this.#persist([
      this.#writer.identity(this.#identity, 'same'),
      this.#writer.hardState(hardState),
      ...this.#writer.entries(entries),
    ]);
    return [persisted, mark('error', 'quorum.storageWentBack', carried.store)];
  }

  /** The whole state as journal records; taken at one moment, given a piece at a time. */
  *checkpoint(): Generator<Uint8Array> {
    const replica = this.#replica;
    if (this.#sealed !== undefined)
      for (const record of this.#sealed.records) yield journalRecord('quorum', record);
    else if (replica !== undefined) yield* this.#writer.checkpoint(replica.captured(this.#identity));
    else if (this.#identity.dissolved.length > 0) yield this.#writer.identity(this.#identity, 'checkpoint');
  }

  /** As one who knows nothing of the store yet. */
  join(store: StoreId, now: Instant): readonly QuorumEffect[] {
    const nothing = { hardState: { term: 0, votedFor: undefined }, point: EMPTY_POINT, entries: [] };
    this.#carry(this.#freshCarried(store), nothing, new Register(), now);
    const persisted = this.#persist([this.#writer.identity(this.#identity, 'new')]);
    return [persisted, mark('info', 'quorum.joined', store)];
  }

  /** With this node as its only voter. */
  found(now: Instant): readonly QuorumEffect[] {
    const carried = this.#freshCarried(this.#freshStore());
    const persisted = this.#begin(carried, { index: 0, term: 0 }, new Register(), now);
    return [...persisted, mark('info', 'quorum.founded', carried.store)];
  }

  /**
   * The voters are lost for good: a new store that goes on from all that this node's log holds, what never reached a
   * majority included, with this node as its only voter. What only the lost voters had is lost.
   */
  recover(now: Instant): readonly QuorumEffect[] {
    const old = this.#replica;
    if (old === undefined) return [];
    const { register } = old;
    let last = { index: old.appliedIndex, term: old.raft.term };
    for (const entry of old.raft.entries()) {
      if (entry.index <= last.index) continue;
      if (entry.kind === 'command') register.apply(entry.index, entry.command);
      last = { index: entry.index, term: Math.max(last.term, entry.term) };
    }
    // Revisions that only the lost voters knew are not handed out again.
    const advance = { kind: 'advance', revision: register.revision + RECOVERY_STEP } as const;
    register.apply(last.index, encodeCommand(advance));
    const carried = this.#freshCarried(this.#freshStore());
    this.#identity = {
      ...this.#identity,
      replaced: [...this.#identity.replaced, old.carried.store].slice(-GONE),
    };
    const persisted = this.#begin(carried, last, register, now);
    return [...persisted, mark('warn', 'quorum.recovered', carried.store)];
  }

  /** As if this node had never joined the store, of which it holds nothing. */
  release(): readonly QuorumEffect[] {
    const { carried } = this.#identity;
    if (carried === undefined || !this.isUnknown) return [];
    this.#identity = { ...this.#identity, carried: undefined };
    this.#replica = undefined;
    const persisted = this.#persist([this.#writer.identity(this.#identity, 'new')]);
    return [persisted, mark('warn', 'quorum.joinedInVain', carried.store)];
  }

  /** Forgets the store, data and all. */
  drop(): readonly QuorumEffect[] {
    const { carried, dissolved, revisionToPass } = this.#identity;
    if (carried === undefined) return [];
    this.#identity = {
      ...this.#identity,
      carried: undefined,
      replaced: [],
      dissolved: [...dissolved, carried.store].slice(-GONE),
      revisionToPass: Math.max(revisionToPass, this.#replica?.register.revision ?? 0),
    };
    this.#replica = undefined;
    const persisted = this.#persist([this.#writer.identity(this.#identity, 'new')]);
    return [persisted, mark('info', 'quorum.dropped', carried.store)];
  }

  #carry(carried: Carried, restored: Restored, register: Register, now: Instant): void {
    this.#identity = { ...this.#identity, carried };
    this.#claim = NO_CLAIM;
    this.#replica = this.#makeReplica(carried, restored, register, now);
  }

  /**
   * A store that goes on behind `last`, with this node as its only voter. Written as a checkpoint is: its last record
   * makes all of it count, so that a crash leaves what was before or what is now.
   */
  #begin(
    carried: Carried,
    last: { readonly index: LogIndex; readonly term: Term },
    register: Register,
    now: Instant,
  ): readonly QuorumEffect[] {
    const configuration = { incoming: [serverIdOf(this.#options.self, carried.storage)], outgoing: [] };
    const hardState = { term: last.term + 1, votedFor: undefined };
    const begun = { hardState, point: { ...last, configuration }, entries: [] };
    this.#carry(carried, begun, register, now);
    return this.#persistPortion(this.checkpoint());
  }

  /** A large store goes to the disk a portion at a time, which has no room for all of it at once. */
  #persistPortion(rest: Iterator<Uint8Array>): readonly QuorumEffect[] {
    const records: Uint8Array[] = [];
    let bytes = 0;
    this.#beginning = undefined;
    while (bytes < PORTION_BYTES) {
      const { done, value } = rest.next();
      if (done === true) return [this.#persist(records)];
      records.push(value);
      bytes += value.length;
    }
    const awaited = ++this.#awaited;
    this.#beginning = { rest, awaited };
    return [this.#persist(records), { kind: 'awaitDisk', stream: STREAM, sequence: awaited }];
  }

  diskReached(sequence: number): readonly QuorumEffect[] {
    const beginning = this.#beginning;
    return sequence === beginning?.awaited ? this.#persistPortion(beginning.rest) : [];
  }

  /** Which portions were lost is not known: a store that was being begun is written from the first again. */
  diskRecovered(): readonly QuorumEffect[] {
    if (this.#beginning === undefined) return [];
    this.#writer.breakOff();
    return this.#persistPortion(this.checkpoint());
  }

  #makeReplica(carried: Carried, restored: Restored, register: Register, now: Instant): Replica {
    const { self, raft, rng, newestFormat } = this.#options;
    this.#generation++;
    return new Replica({
      self,
      carried,
      restored,
      register,
      writer: this.#writer,
      config: raft,
      newestFormat,
      generation: this.#generation,
      rng: rng.fork(),
      now,
    });
  }

  #persist(records: readonly Uint8Array[]): QuorumEffect {
    return { kind: 'persist', stream: STREAM, records, durable: true };
  }

  #freshCarried(store: StoreId): Carried {
    return { store, storage: this.#freshStorage() };
  }

  #freshStorage(): StorageId {
    const storage = parseStorageId(this.#options.freshId());
    if (storage === undefined) throw new Error('carrier: an id out of bounds');
    return storage;
  }

  #freshStore(): StoreId {
    const store = parseStoreId(this.#options.freshId());
    if (store === undefined) throw new Error('carrier: an id out of bounds');
    return store;
  }
}

function lastIndexOf({ point, entries }: Restored): number {
  return entries.at(-1)?.index ?? point.index;
}

function mark(level: Mark['level'], name: string, store: StoreId): Mark {
  return { kind: 'mark', level, name, fields: { store: storeName(store) } };
}
