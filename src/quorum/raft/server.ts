/**
 * The state of one server that every part of the core shares, and the orders that change it: log, term, vote, role,
 * commit index. The parts (election, replication, reads, …) hold what concerns them alone.
 */
import type { Rng } from '../../kernel/rng.ts';
import { isVoter } from '../arithmetic/joint.ts';
import { Durability } from './durability.ts';
import { type Batch, entryBytes, RaftLog } from './log.ts';
import type {
  Configuration,
  HardState,
  LogEntry,
  LogIndex,
  RaftConfig,
  RaftEffect,
  RaftMessage,
  Restored,
  Role,
  ServerId,
  Term,
} from './types.ts';

/** What a log entry says, before it has its place. */
type EntryContent =
  | { readonly kind: 'command'; readonly command: Uint8Array }
  | { readonly kind: 'configuration'; readonly configuration: Configuration }
  | { readonly kind: 'blank' };

const NOTHING: readonly RaftEffect[] = [];

export class Server {
  readonly self: ServerId;
  readonly config: RaftConfig;
  readonly rng: Rng;
  readonly log: RaftLog;
  readonly disk: Durability;
  role: Role = 'follower';
  leader: ServerId | undefined;
  nowMs: number;
  /** When a leader, of this term or an earlier one, was last heard; `-Infinity` for never. It may hold a lease. */
  leaderHeardMs = Number.NEGATIVE_INFINITY;
  /** Of entries that this leader appended, or found, and that are not committed yet. */
  uncommittedBytes = 0;
  #term: Term;
  #votedFor: ServerId | undefined;
  #commitIndex: LogIndex;
  #effects: RaftEffect[] = [];

  constructor(options: {
    readonly self: ServerId;
    readonly config: RaftConfig;
    readonly rng: Rng;
    readonly nowMs: number;
    readonly restored: Restored;
  }) {
    const { hardState, point, entries, applied } = options.restored;
    this.self = options.self;
    this.config = options.config;
    this.rng = options.rng;
    this.nowMs = options.nowMs;
    this.log = new RaftLog(point, entries);
    this.disk = new Durability(this.log.lastIndex);
    // A term of the log that the hard state has not: someone gave this server a disk from parts; the later counts.
    const isBehind = hardState.term < this.log.lastTerm;
    this.#term = isBehind ? this.log.lastTerm : hardState.term;
    this.#votedFor = isBehind ? undefined : hardState.votedFor;
    this.#commitIndex = Math.min(this.log.lastIndex, Math.max(point.index, applied ?? 0));
  }

  get term(): Term {
    return this.#term;
  }

  get votedFor(): ServerId | undefined {
    return this.#votedFor;
  }

  get hardState(): HardState {
    return { term: this.#term, votedFor: this.#votedFor };
  }

  get commitIndex(): LogIndex {
    return this.#commitIndex;
  }

  get committedConfiguration(): Configuration {
    return this.log.configurationAt(this.#commitIndex);
  }

  get isChanging(): boolean {
    return this.log.configuration.outgoing.length > 0 || this.log.configurationIndex > this.#commitIndex;
  }

  /** This leader knows all that was committed before it (6.4, 4.1): an entry of its own term is committed. */
  get hasCommittedInTerm(): boolean {
    return this.log.termAt(this.#commitIndex) === this.#term;
  }

  /**
   * May lead, and so stands for election: has a vote in a configuration that is, or may still be, in force. A server that
   * is about to be removed may be the only one whose log is long enough to finish the removal (4.2.2).
   */
  get mayStand(): boolean {
    if (isVoter(this.log.configuration, this.self)) return true;
    return this.log.configurationsSince(this.#commitIndex).some((each) => isVoter(each, this.self));
  }

  /**
   * The whole store is this server: nobody has to be asked, and nobody else can lead. So it must have been since what is
   * known to be committed: of a change to this server alone that is under way, another may be the leader.
   */
  get isAlone(): boolean {
    const { incoming, outgoing } = this.log.configuration;
    if (incoming.length !== 1 || incoming[0] !== this.self || outgoing.length > 0) return false;
    return this.log
      .configurationsSince(this.#commitIndex)
      .every(
        (each) => each.incoming.length === 1 && each.incoming[0] === this.self && each.outgoing.length === 0,
      );
  }

  /** What may be said at once: only what does not reveal a term or vote that a crash could take back. */
  get mustAwaitDisk(): boolean {
    return !this.disk.isHardStateStable;
  }

  emit(effect: RaftEffect): void {
    this.#effects.push(effect);
  }

  send(message: RaftMessage, afterDisk: boolean): void {
    this.#effects.push({ kind: 'sendMessage', message, afterDisk });
  }

  mark(
    level: 'debug' | 'info' | 'warn' | 'error',
    name: string,
    fields: Readonly<Record<string, unknown>>,
  ): void {
    this.#effects.push({ kind: 'mark', stream: 'quorum', level, name, fields });
  }

  /** Everything ordered since the last call, with the number to await where some of it goes to disk. */
  takeEffects(): readonly RaftEffect[] {
    const sequence = this.disk.takeSequence();
    if (sequence !== undefined) this.emit({ kind: 'awaitDisk', sequence });
    if (this.#effects.length === 0) return NOTHING;
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }

  /** Terms only grow, and a vote once given in a term stays (3.4, 3.6.1). */
  setHardState(term: Term, votedFor: ServerId | undefined): void {
    if (
      term < this.#term ||
      (term === this.#term && this.#votedFor !== undefined && votedFor !== this.#votedFor)
    ) {
      throw new Error(`raft: term ${this.#term} voted for ${this.#votedFor}, then ${term} for ${votedFor}`);
    }
    if (term === this.#term && votedFor === this.#votedFor) return;
    this.#term = term;
    this.#votedFor = votedFor;
    this.persistHardState();
  }

  persistHardState(): void {
    this.emit({ kind: 'persistHardState', state: this.hardState });
    this.disk.orderHardState();
  }

  /** Leader only. In the log, and not yet ordered to disk. */
  appendOwn(content: EntryContent): LogEntry {
    const entry: LogEntry = { ...content, index: this.log.lastIndex + 1, term: this.#term };
    this.log.append(entry);
    this.uncommittedBytes += entryBytes(entry);
    return entry;
  }

  /** Orders to disk what the log holds and the disk was not given yet; answers with that as a batch. */
  persistLog(): Batch | undefined {
    const from = this.disk.orderedIndex + 1;
    if (from > this.log.lastIndex) return undefined;
    const batch = this.log.batch(from, Number.POSITIVE_INFINITY);
    this.emit({ kind: 'persistEntries', entries: batch.entries });
    this.disk.orderEntries(batch.last);
    return batch;
  }

  truncateLog(from: LogIndex): void {
    this.log.truncate(from, this.#commitIndex);
    this.disk.truncate(from);
  }

  /** Everything up to `index` is committed: hands it to the state machine. */
  commitTo(index: LogIndex): void {
    if (index <= this.#commitIndex) return;
    if (index > this.log.lastIndex) throw new Error(`raft: commit ${index} behind ${this.log.lastIndex}`);
    const entries = this.log.slice(this.#commitIndex + 1, index);
    this.#commitIndex = index;
    if (this.role === 'leader') for (const entry of entries) this.uncommittedBytes -= entryBytes(entry);
    this.emit({ kind: 'apply', entries });
  }

  /** The state machine jumped to `index` by a snapshot. */
  jumpTo(index: LogIndex): void {
    this.#commitIndex = index;
  }
}
