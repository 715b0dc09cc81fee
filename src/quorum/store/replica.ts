/**
 * One store as this node carries it: the Raft core, the register that its log is applied to, and what both keep on
 * disk. Turns what the core orders into frames and journal records, and what was applied into facts.
 *
 * Streams: `quorum` waits for the disk (votes, acknowledgements), `quorum/now` does not (a leader's appends leave
 * while its own disk writes; answers rest on a majority, not on this disk).
 */
import type { Mark } from '../../kernel/effects.ts';
import type { NodeId } from '../../kernel/ids.ts';
import type { Rng } from '../../kernel/rng.ts';
import { type Deadline, earliest, type Instant, isDue, mayBeDue } from '../../kernel/time.ts';
import { allVoters, isVoter } from '../arithmetic/joint.ts';
import { encodeFrame, type StoreFrame } from '../frames.ts';
import type { QuorumEffect } from '../messages.ts';
import { Raft } from '../raft/raft.ts';
import type {
  LogEntry,
  RaftConfig,
  RaftEffect,
  RaftEvent,
  RaftMessage,
  Restored,
  ServerId,
  SnapshotPoint,
} from '../raft/types.ts';
import { type ClientId, raisedFormat } from '../register/command.ts';
import type { Applied } from '../register/outcome.ts';
import type { Register } from '../register/register.ts';
import { nodeOf, parseServerId, type StoreId, serverIdOf, storeName } from '../server.ts';
import { wishesOf } from '../voters/voter-wishes.ts';
import { isEnding, successorOf } from './endings.ts';
import { Promises } from './promises.ts';
import { SnapshotIntake } from './snapshot-intake.ts';
import { type Arrived, Capture, SnapshotSenders } from './snapshot-transfer.ts';
import type { Captured, Carried, StorageWriter, StoredIdentity } from './storage.ts';
import { type Asked, type Outdated, Turns } from './turns.ts';

/** What the replica says besides orders. */
export type ReplicaFact =
  | { readonly kind: 'applied'; readonly applied: Applied }
  /** The copy was replaced by a leader's snapshot. */
  | { readonly kind: 'replaced' }
  /** The store gave way to another: nothing that comes behind takes effect. `tookNoEffect`: it was empty. */
  | { readonly kind: 'dissolved'; readonly into: StoreId; readonly tookNoEffect: boolean }
  /** A call of this node can never take effect: what it reads otherwise is to be read behind `index`. */
  | {
      readonly kind: 'outdated';
      readonly client: ClientId;
      readonly sequence: number;
      readonly index: number;
    }
  | Extract<RaftEffect, { kind: 'refused' | 'readReady' | 'readRefused' | 'reconfigured' | 'leadership' }>;

interface ReplicaOptions {
  readonly self: NodeId;
  readonly carried: Carried;
  readonly restored: Restored;
  readonly register: Register;
  readonly writer: StorageWriter;
  readonly config: RaftConfig;
  /** That this program understands. */
  readonly newestFormat: number;
  /** Tells this replica's `awaitDisk` from those of one before it in the same run. */
  readonly generation: number;
  readonly rng: Rng;
  readonly now: Instant;
}

const STREAM = 'quorum';
const NOW_STREAM = 'quorum/now';
/** The log is cut when this much was applied since it last was; sooner where the tail that stays is set to be short. */
const COMPACT_ENTRIES = 20_000;
const COMPACT_BYTES = 8 * 1024 * 1024;
const GENERATION = 2 ** 32;
/** Of a store to which no client ever wrote. */
export const EMPTY_REVISION = 1;

export class Replica {
  readonly carried: Carried;
  readonly server: ServerId;
  readonly raft: Raft;
  readonly #self: NodeId;
  readonly #writer: StorageWriter;
  readonly #generation: number;
  readonly #compactEntries: number;
  readonly #senders = new SnapshotSenders();
  readonly #intake: SnapshotIntake;
  readonly #turns = new Turns();
  readonly #newestFormat: number;
  #neededFormat: number | undefined;
  readonly #promises: Promises;
  /** What the Raft core calls the moments that it awaits. */
  readonly #raftSequences = new Map<number, number>();
  #register: Register;
  #applied: SnapshotPoint;
  #isDissolved = false;
  #isTrusted = false;
  #sinceCompaction = { entries: 0, bytes: 0 };
  #awaited = 0;
  #reachable: ReadonlyMap<NodeId, ServerId> = new Map();

  constructor(options: ReplicaOptions) {
    const { self, carried, restored } = options;
    this.#self = self;
    this.carried = carried;
    this.server = serverIdOf(self, carried.storage);
    this.#register = options.register;
    this.#writer = options.writer;
    this.#generation = options.generation;
    this.#newestFormat = options.newestFormat;
    this.#intake = new SnapshotIntake(options.writer, options.newestFormat);
    const { tailEntries } = options.config;
    this.#compactEntries = tailEntries === undefined ? COMPACT_ENTRIES : 2 * tailEntries + 1;
    this.#applied = restored.point;
    this.#promises = new Promises(options.config.heartbeatMs);
    this.raft = new Raft({
      self: this.server,
      config: options.config,
      rng: options.rng,
      now: options.now,
      restored,
    });
    // Whether it is committed is not known here; who may not carry it out must not lead others to believe it will.
    if (this.formatToCome > this.#newestFormat) this.#neededFormat = this.formatToCome;
  }

  get register(): Register {
    return this.#register;
  }

  /** Last log index that the register holds. */
  get appliedIndex(): number {
    return this.#applied.index;
  }

  /** Its log has commands that are not applied yet, other than such as end the store. */
  get hasUnappliedCalls(): boolean {
    return this.raft
      .entries()
      .some(
        ({ index, ...entry }) =>
          index > this.appliedIndex && entry.kind === 'command' && !isEnding(entry.command),
      );
  }

  /** Takes part in the protocol; until then, and behind a format that is too new, it neither hears nor says anything. */
  get isTrusted(): boolean {
    return this.#isTrusted && this.#neededFormat === undefined;
  }

  /** The store's, where this program does not understand it: the copy stands still, and takes part in nothing. */
  get neededFormat(): number | undefined {
    return this.#neededFormat;
  }

  /** The store's once all that is in the log is applied. */
  get formatToCome(): number {
    let format = this.#register.format;
    for (let index = this.#applied.index + 1; index <= this.raft.lastIndex; index++) {
      const entry = this.raft.entryAt(index);
      if (entry?.kind === 'command') format = Math.max(format, raisedFormat(entry.command));
    }
    return format;
  }

  trust(): void {
    this.#isTrusted = true;
  }

  /** Where the register stands in the log. */
  get appliedPoint(): SnapshotPoint {
    return this.#applied;
  }

  get leader(): NodeId | undefined {
    return this.raft.leader === undefined ? undefined : nodeOf(this.raft.leader);
  }

  get isLeader(): boolean {
    return this.raft.role === 'leader' && this.#neededFormat === undefined;
  }

  /** Servers of this store on the members that can be reached. */
  reach(servers: readonly ServerId[], now: Instant): readonly (QuorumEffect | ReplicaFact)[] {
    this.#reachable = new Map(servers.map((server) => [nodeOf(server), server]));
    return this.step({ kind: 'serversReachable', servers }, now);
  }

  isReachable(server: ServerId): boolean {
    return this.#reachable.get(nodeOf(server)) === server;
  }

  step(event: RaftEvent, now: Instant): readonly (QuorumEffect | ReplicaFact)[] {
    const out: (QuorumEffect | ReplicaFact)[] = [];
    if (event.kind === 'diskFailed') this.#forgetAwaited();
    this.#carryOut(this.raft.handle(event, now), out, now);
    this.#takeTurns(out, now);
    return out;
  }

  /**
   * As leader, before this node goes: the voter that can be reached and lacks least is to lead, before all one that nobody
   * wants to vote no more, which would have to hand over once again.
   */
  handOver(now: Instant): readonly (QuorumEffect | ReplicaFact)[] {
    if (!this.isLeader) return [];
    const { incoming } = this.raft.configuration;
    const wishes = wishesOf(this.#register);
    const isUnwanted = (server: ServerId) => Number(wishes.get(nodeOf(server)) === 'never');
    const [fittest] = this.raft
      .progress()
      .filter(({ server }) => incoming.includes(server) && this.isReachable(server))
      .toSorted(
        (left, right) => isUnwanted(left.server) - isUnwanted(right.server) || right.match - left.match,
      );
    return fittest === undefined
      ? []
      : this.step({ kind: 'transferAsked', token: 0, to: fittest.server }, now);
  }

  /** Calls for the log, at a leader in whose turn it is; elsewhere they are refused. */
  propose(proposals: readonly Asked[], now: Instant): readonly (QuorumEffect | ReplicaFact)[] {
    if (!this.isLeader) return this.step({ kind: 'proposed', proposals }, now);
    const out: (QuorumEffect | ReplicaFact)[] = [];
    for (const asked of proposals) this.#turns.ask(asked, this.raft.lastIndex, this.#register, now);
    this.#takeTurns(out, now);
    return out;
  }

  #takeTurns(out: (QuorumEffect | ReplicaFact)[], now: Instant): void {
    for (let taken = this.#turns.take(); taken !== undefined; taken = this.#turns.take()) {
      if (taken.admitted.length > 0) {
        const effects = this.raft.handle({ kind: 'proposed', proposals: taken.admitted }, now);
        // What waits for them would wait in vain; who asked asks again.
        if (effects.some(({ kind }) => kind === 'refused')) this.#turns.clear();
        this.#carryOut(effects, out, now);
      }
      if (taken.proof !== undefined)
        this.#carryOut(this.raft.handle({ kind: 'readAsked', token: taken.proof }, now), out, now);
      if (taken.outdated.length === 0) continue;
      // Whoever is told reads what was committed: it goes the same way at the same time.
      this.#carryOut(this.raft.flush(now), out, now);
      this.#tellOutdated(taken.outdated, out);
    }
  }

  #tellOutdated(outdated: readonly Outdated[], out: (QuorumEffect | ReplicaFact)[]): void {
    // What was proved may lie behind what is not understood.
    if (this.#neededFormat !== undefined) return;
    const { index } = this.#applied;
    const others = new Map<ServerId, Map<ClientId, number[]>>();
    for (const { from, client, sequence } of outdated) {
      if (from === undefined) {
        out.push({ kind: 'outdated', client, sequence, index });
        continue;
      }
      const clients = others.get(from) ?? new Map<ClientId, number[]>();
      clients.set(client, [...(clients.get(client) ?? []), sequence]);
      others.set(from, clients);
    }
    for (const [to, clients] of others)
      for (const [client, sequences] of clients)
        this.#send(to, { kind: 'outdated', index, client, sequences }, NOW_STREAM, out);
  }

  /** What waits for the disk may never be there: snapshots are to be sent again, the core orders the rest anew. */
  #forgetAwaited(): void {
    this.#intake.forget();
    this.#raftSequences.clear();
  }

  /** A frame for this server from another of its store. */
  received(
    from: ServerId,
    frame: Exclude<StoreFrame, { kind: 'propose' | 'refuse' | 'outdated' | 'promise' }>,
    now: Instant,
  ): readonly (QuorumEffect | ReplicaFact)[] {
    if (!this.isTrusted) return [];
    if (frame.kind === 'raft') return this.step({ kind: 'received', message: frame.message }, now);
    const out: (QuorumEffect | ReplicaFact)[] = [];
    if (frame.kind === 'snapshot') this.#snapshotPiece(from, frame, out);
    else {
      const { frames, outcome } = this.#senders.answered(from, frame, now);
      for (const piece of frames) this.#send(from, piece, NOW_STREAM, out);
      if (outcome !== undefined)
        this.#carryOut(this.raft.handle({ kind: 'snapshotSent', ...outcome }, now), out, now);
    }
    return out;
  }

  diskReached(sequence: number, now: Instant): readonly (QuorumEffect | ReplicaFact)[] {
    if (Math.floor(sequence / GENERATION) !== this.#generation) return [];
    const number = sequence % GENERATION;
    const out: (QuorumEffect | ReplicaFact)[] = [];
    const arrived = this.#intake.reached(number);
    if (arrived === undefined) {
      const reached = this.#raftSequences.get(number);
      this.#raftSequences.delete(number);
      if (reached !== undefined)
        this.#carryOut(this.raft.handle({ kind: 'diskReached', sequence: reached }, now), out, now);
      this.#takeTurns(out, now);
      return out;
    }
    this.#install(arrived, out, now);
    return out;
  }

  expire(now: Instant): readonly (QuorumEffect | ReplicaFact)[] {
    if (!this.isTrusted) return [];
    const out: (QuorumEffect | ReplicaFact)[] = [];
    if (isDue(this.#turns.deadline(), now)) this.#turns.expire(this.#register, now);
    this.#takeTurns(out, now);
    if (mayBeDue(this.raft.deadline(), now)) this.#carryOut(this.raft.expire(now), out, now);
    this.#takeTurns(out, now);
    if ((this.#senders.deadlineMs ?? Number.POSITIVE_INFINITY) <= now.monoMs) this.#resendSnapshots(out, now);
    this.#tellPromises(out, now);
    return out;
  }

  deadline(): Deadline | undefined {
    if (!this.isTrusted) return undefined;
    const atMs = this.#senders.deadlineMs;
    const tellAtMs = this.#promises.deadlineMs;
    return earliest([
      this.raft.deadline(),
      this.#turns.deadline(),
      atMs === undefined ? undefined : { atMs, reason: 'quorum snapshots' },
      tellAtMs === undefined ? undefined : { atMs: tellAtMs, reason: 'quorum promises' },
    ]);
  }

  /** Everything as it is at this moment; the register's part is encoded as it is taken. */
  captured(identity: StoredIdentity): Captured {
    const { hardState } = this.raft;
    return {
      identity,
      hardState,
      point: this.#applied,
      pieces: this.#register.capture(),
      entries: this.raft.entries().filter((entry) => entry.index > this.#applied.index),
      incoming: this.#intake.captured(),
    };
  }

  #carryOut(effects: readonly RaftEffect[], out: (QuorumEffect | ReplicaFact)[], now: Instant): void {
    // Before anything is applied: with the news that another leads may come what that one committed.
    if (this.raft.role !== 'leader') this.#turns.clear();
    for (const effect of effects) {
      switch (effect.kind) {
        case 'sendMessage':
          this.#sendMessage(effect.message, effect.afterDisk, out);
          break;
        case 'persistHardState':
          this.#persist([this.#writer.hardState(effect.state)], out);
          break;
        case 'persistEntries':
          this.#persist(this.#writer.entries(effect.entries), out);
          break;
        case 'awaitDisk':
          this.#raftSequences.set(this.#awaitDisk(out), effect.sequence);
          break;
        case 'apply':
          this.#apply(effect.entries, out, now);
          break;
        case 'snapshotWanted':
          this.#sendSnapshot(effect.to, effect.term, out, now);
          break;
        case 'appended':
        case 'transferred':
          break;
        case 'readReady':
        case 'readRefused':
          if (effect.token > 0) out.push(effect);
          else this.#turns.proved(effect.token, effect.kind === 'readRefused', this.#register, now);
          break;
        case 'mark':
          out.push(effect as Mark);
          break;
        case 'leadership':
          if (effect.role !== 'leader') this.#senders.clear();
          out.push(effect);
          break;
        default:
          out.push(effect);
      }
    }
    this.#tellPromises(out, now);
  }

  /** Behind the disk, as what it repeats. */
  #tellPromises(out: (QuorumEffect | ReplicaFact)[], now: Instant): void {
    const due = this.#promises.take(now.monoMs);
    if (due === undefined) return;
    for (const voter of allVoters(this.raft.configuration))
      if (voter !== due.knows) this.#send(voter, { kind: 'promise', promised: due.promised }, STREAM, out);
  }

  #persist(records: readonly Uint8Array[], out: (QuorumEffect | ReplicaFact)[]): void {
    out.push({ kind: 'persist', stream: STREAM, records, durable: true });
  }

  #awaitDisk(out: (QuorumEffect | ReplicaFact)[]): number {
    const number = ++this.#awaited;
    out.push({ kind: 'awaitDisk', stream: STREAM, sequence: this.#generation * GENERATION + number });
    return number;
  }

  #sendMessage(message: RaftMessage, afterDisk: boolean, out: (QuorumEffect | ReplicaFact)[]): void {
    if (isVoter(this.raft.configuration, this.server)) this.#promises.note(message);
    this.#send(message.to, { kind: 'raft', message }, afterDisk ? STREAM : NOW_STREAM, out);
  }

  #send(to: ServerId, frame: StoreFrame, stream: string, out: (QuorumEffect | ReplicaFact)[]): void {
    const target = parseServerId(to);
    if (target === undefined || target.node === this.#self || !this.isReachable(to)) return;
    if (this.#neededFormat !== undefined) return;
    const { store, storage } = this.carried;
    const bytes = encodeFrame(store, storage, target.storage, frame);
    out.push({ kind: 'send', stream, to: [target.node], channel: 'quorum', bytes });
  }

  /** For a member of this store, outside the Raft protocol. */
  sendTo(server: ServerId, frame: StoreFrame): readonly QuorumEffect[] {
    const out: (QuorumEffect | ReplicaFact)[] = [];
    this.#send(server, frame, NOW_STREAM, out);
    return out as QuorumEffect[];
  }

  #apply(entries: readonly LogEntry[], out: (QuorumEffect | ReplicaFact)[], now: Instant): void {
    for (const entry of entries) {
      if (entry.index <= this.#applied.index) continue;
      if (this.#isTooNew(entry, out)) break;
      const configuration =
        entry.kind === 'configuration' ? entry.configuration : this.#applied.configuration;
      this.#applied = { index: entry.index, term: entry.term, configuration };
      if (entry.kind !== 'command' || this.#isDissolved) continue;
      this.#sinceCompaction.entries++;
      this.#sinceCompaction.bytes += entry.command.length;
      if (isEnding(entry.command)) this.#dissolve(entry.command, out);
      else this.#applyCommand(entry, entry.command, out, now);
    }
    const { entries: count, bytes } = this.#sinceCompaction;
    if (count < this.#compactEntries && bytes < COMPACT_BYTES) return;
    this.#sinceCompaction = { entries: 0, bytes: 0 };
    this.#carryOut(this.raft.handle({ kind: 'snapshotted', index: this.#applied.index }, now), out, now);
  }

  /** Nothing is applied from here on: what comes behind means something that this program does not know. */
  #isTooNew(entry: LogEntry, out: (QuorumEffect | ReplicaFact)[]): boolean {
    const format = entry.kind === 'command' ? raisedFormat(entry.command) : 0;
    if (this.#neededFormat !== undefined) return true;
    if (format <= this.#newestFormat) return false;
    this.#neededFormat = format;
    const fields = { store: storeName(this.carried.store), format, understood: this.#newestFormat };
    out.push({ kind: 'mark', level: 'error', name: 'quorum.formatTooNew', fields });
    return true;
  }

  #applyCommand(
    { index }: LogEntry,
    command: Uint8Array,
    out: (QuorumEffect | ReplicaFact)[],
    now: Instant,
  ): void {
    const applied = this.#register.apply(index, command);
    this.#turns.applied(applied, index, this.#register, now);
    out.push({ kind: 'applied', applied });
  }

  #dissolve(command: Uint8Array, out: (QuorumEffect | ReplicaFact)[]): void {
    const isEmpty = this.#register.revision <= EMPTY_REVISION;
    const into = successorOf(command, isEmpty);
    if (into === undefined) return;
    this.#isDissolved = true;
    out.push({ kind: 'dissolved', into, tookNoEffect: isEmpty });
  }

  #sendSnapshot(to: ServerId, term: number, out: (QuorumEffect | ReplicaFact)[], now: Instant): void {
    const capture = () => new Capture(this.#applied, this.#register.capture());
    const oldest = this.raft.firstIndex - 1;
    for (const frame of this.#senders.begin(to, term, oldest, capture, now))
      this.#send(to, frame, NOW_STREAM, out);
  }

  #resendSnapshots(out: (QuorumEffect | ReplicaFact)[], now: Instant): void {
    const { frames, outcomes } = this.#senders.expire(now, (server) => this.isReachable(server));
    for (const { to, frame } of frames) this.#send(to, frame, NOW_STREAM, out);
    for (const outcome of outcomes)
      this.#carryOut(this.raft.handle({ kind: 'snapshotSent', ...outcome }, now), out, now);
  }

  #snapshotPiece(
    from: ServerId,
    frame: Extract<StoreFrame, { kind: 'snapshot' }>,
    out: (QuorumEffect | ReplicaFact)[],
  ): void {
    // Whoever sends one had its appends answered in this term, so it is known; pieces that come too early are sent again.
    if (frame.term !== this.raft.term || this.raft.leader !== from) return;
    const { records, whole, answer, afterDisk } = this.#intake.take(from, frame, this.#applied.index);
    if (records.length > 0) this.#persist(records, out);
    if (whole !== undefined) this.#intake.awaited(this.#awaitDisk(out), whole);
    this.#send(from, answer, afterDisk ? STREAM : NOW_STREAM, out);
  }

  #install(arrived: Arrived, out: (QuorumEffect | ReplicaFact)[], now: Instant): void {
    if (arrived.point.index <= this.#applied.index) return;
    this.#register = arrived.register;
    this.#applied = arrived.point;
    this.#sinceCompaction = { entries: 0, bytes: 0 };
    out.push({ kind: 'replaced' });
    const { point, from, term } = arrived;
    this.#carryOut(this.raft.handle({ kind: 'snapshotInstalled', point, from, term }, now), out, now);
  }
}
