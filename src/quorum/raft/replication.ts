/**
 * A leader's side of replication: who has which entries, what to send next, and what is thereby committed
 * (Ongaro 2014, 3.5, 3.6.2, 10.2).
 *
 * Intuition. Everything that happens in one turn of the host leaves together: one write to the own disk and one message
 * to each follower, sent in parallel. Messages run ahead of their answers up to a window. A lost one shows when the next
 * arrives: the follower refuses it and says where to go on.
 *
 * Rounds. Every heartbeat, and every batch of reads, begins a round whose number followers echo. Once a majority has
 * answered a round, this server led when it began: reads asked before then may be answered (6.4), and nobody else can
 * be elected until an election timeout after it began (leases, 6.4.1).
 */
import { allVoters, jointIndex, jointTally } from '../arithmetic/joint.ts';
import type { Batch } from './log.ts';
import { Progress } from './progress.ts';
import type { Server } from './server.ts';
import type { LogIndex, RaftMessage, ServerId } from './types.ts';

/** Who has no vote hears of an idle leader with every eleventh heartbeat, twice in the time that it waits for one: there may be many. */
const LEARNERS_BEATS = 11;

type AppendAnswer = Extract<RaftMessage, { kind: 'appendAnswer' }>;

export class Replication {
  readonly #server: Server;
  #progress = new Map<ServerId, Progress>();
  #reachable: readonly ServerId[] = [];
  #round = 0;
  #beats = 0;
  /** When the rounds after `#roundsFrom` began. */
  #roundStartsMs: number[] = [];
  #roundsFrom = 0;
  #batch: { readonly from: LogIndex; readonly end: LogIndex; readonly batch: Batch } | undefined;
  heartbeatAtMs = Number.POSITIVE_INFINITY;
  /** Something waits to leave at the end of the turn. */
  isFlushWanted = false;

  constructor(server: Server) {
    this.#server = server;
  }

  /** This server leads from now on (5.3: nothing is known of the followers; assume that they have what it has). */
  begin(): void {
    this.end();
    this.#round = 0;
    this.#beats = 0;
    this.#roundStartsMs = [];
    this.#roundsFrom = 0;
    this.#retarget(this.#server.log.lastIndex + 1);
    this.isFlushWanted = true;
    this.heartbeatAtMs = this.#server.nowMs;
  }

  end(): void {
    this.#progress = new Map();
    this.#batch = undefined;
    this.heartbeatAtMs = Number.POSITIVE_INFINITY;
    this.isFlushWanted = false;
  }

  progress(): Iterable<Progress> {
    return this.#progress.values();
  }

  progressOf(server: ServerId): Progress | undefined {
    return this.#progress.get(server);
  }

  /** A server that is new here may have missed what was sent before it could be reached. */
  handleReachable(servers: readonly ServerId[]): void {
    const before = new Set(this.#reachable);
    this.#reachable = servers;
    if (this.#server.role !== 'leader') return;
    this.retarget();
    for (const server of servers) {
      const progress = this.#progress.get(server);
      if (progress === undefined || before.has(server) || progress.state === 'snapshot') continue;
      progress.becomeProbe(progress.match === 0 ? progress.next : progress.match + 1);
      this.isFlushWanted = true;
    }
  }

  /** The voters of the latest configuration and whoever else can be reached. To who is new, the last entry is sent at once: its answer says where to begin. */
  retarget(): void {
    const { firstIndex, lastIndex } = this.#server.log;
    this.#retarget(Math.max(firstIndex, lastIndex));
  }

  #retarget(next: LogIndex): void {
    const { self, log, nowMs } = this.#server;
    const wanted = new Set([...allVoters(log.configuration), ...this.#reachable]);
    wanted.delete(self);
    for (const server of this.#progress.keys()) if (!wanted.has(server)) this.#progress.delete(server);
    for (const server of wanted) {
      if (!this.#progress.has(server)) this.#progress.set(server, new Progress(server, next, nowMs));
    }
  }

  /** A new round: whatever is sent from now on carries its number. */
  beginRound(): number {
    this.#roundStartsMs.push(this.#server.nowMs);
    return ++this.#round;
  }

  /** The latest round that a majority has answered. */
  get confirmedRound(): number {
    const { self, log } = this.#server;
    return jointIndex(log.configuration, (voter) =>
      voter === self ? this.#round : (this.#progress.get(voter)?.round ?? 0),
    );
  }

  /** Nobody else is elected before this, if clocks keep pace (6.4.1). */
  get leaseUntilMs(): number {
    const { electionTimeoutMs, leaseDriftMs } = this.#server.config;
    const startMs = this.#roundStartsMs[this.confirmedRound - this.#roundsFrom - 1];
    return startMs === undefined ? Number.NEGATIVE_INFINITY : startMs + electionTimeoutMs - leaseDriftMs;
  }

  /** A majority was heard within an election timeout (check-quorum, 6.2). */
  hasQuorum(): boolean {
    const { self, log, nowMs, config } = this.#server;
    const sinceMs = nowMs - config.electionTimeoutMs;
    return (
      jointTally(
        log.configuration,
        (voter) =>
          voter === self || (this.#progress.get(voter)?.lastHeardMs ?? Number.NEGATIVE_INFINITY) >= sinceMs,
      ) === 'won'
    );
  }

  /**
   * Own disk and followers in parallel (10.2.1). Who is sent no entries hears of what was committed since; with `isRound`
   * every voter hears something, with `isBeat` everybody does now and then.
   */
  flush(isRound: boolean, isBeat = false): void {
    this.isFlushWanted = false;
    const persisted = this.#server.persistLog();
    if (persisted !== undefined && persisted.bytes <= this.#server.config.appendBytes) {
      this.#batch = {
        from: persisted.last - persisted.entries.length + 1,
        end: persisted.last,
        batch: persisted,
      };
    }
    const isForAll = isBeat && this.#beats % LEARNERS_BEATS === 0;
    const voters = isRound && !isForAll ? allVoters(this.#server.log.configuration) : undefined;
    for (const progress of this.#progress.values()) {
      const isDue = isForAll || voters?.includes(progress.server) === true;
      this.#sendTo(progress, isDue || this.#lacksCommit(progress));
    }
  }

  get heartbeatEarlyMs(): number {
    return this.#server.config.heartbeatEarlyMs ?? 0;
  }

  heartbeat(): void {
    this.heartbeatAtMs = this.#server.nowMs + this.#server.config.heartbeatMs;
    this.#forgetRounds();
    this.beginRound();
    for (const progress of this.#progress.values()) progress.isPaused = false;
    this.flush(true, true);
    this.#beats++;
  }

  /** The message is of the current term. True where it may have moved the commit index. */
  handleAnswer(message: AppendAnswer): boolean {
    const progress = this.#progress.get(message.from);
    if (progress === undefined) return false;
    progress.lastHeardMs = this.#server.nowMs;
    if (message.round <= this.#round && message.round > progress.round) progress.round = message.round;
    if (message.index > this.#server.log.lastIndex + 1) return false;
    if (!message.ok) {
      this.#handleRefusal(progress, message);
      return false;
    }
    if (message.index > this.#server.log.lastIndex) return false;
    const isNews = progress.handleMatch(message.index);
    if (progress.state === 'probe' && message.index >= progress.next - 1) {
      // The entries of the probe itself are on their way to that disk; if they are lost, the next message is refused.
      progress.becomeReplicate(Math.max(message.index, progress.probedTo) + 1);
    } else if (progress.state === 'snapshot' && message.index >= this.#server.log.firstIndex - 1) {
      progress.becomeReplicate(message.index + 1);
    }
    if (progress.next <= this.#server.log.lastIndex) this.isFlushWanted = true;
    return isNews && message.index > this.#server.commitIndex;
  }

  handleSnapshotSent(to: ServerId, index: LogIndex, ok: boolean): void {
    const progress = this.#progress.get(to);
    if (progress?.state !== 'snapshot') return;
    const { log } = this.#server;
    progress.becomeProbe(ok && index <= log.lastIndex ? index + 1 : progress.next);
    // A transfer that failed is not tried again before the next heartbeat.
    progress.isPaused = !ok;
    this.isFlushWanted ||= ok;
  }

  /** Counts who has what: entries of the current term only, older ones go with them (3.6.2). True where that is news. */
  advanceCommit(): boolean {
    const { self, log, disk, term } = this.#server;
    const index = jointIndex(log.configuration, (voter) =>
      voter === self ? disk.stableIndex : (this.#progress.get(voter)?.match ?? 0),
    );
    if (index <= this.#server.commitIndex || log.termAt(index) !== term) return false;
    this.#server.commitTo(index);
    this.isFlushWanted = true;
    return true;
  }

  /** Those before the latest confirmed one tell nothing any more. */
  #forgetRounds(): void {
    const past = Math.min(this.confirmedRound - this.#roundsFrom - 1, this.#roundStartsMs.length);
    if (past <= 0) return;
    this.#roundStartsMs = this.#roundStartsMs.slice(past);
    this.#roundsFrom += past;
  }

  #handleRefusal(progress: Progress, message: AppendAnswer): void {
    if (progress.state === 'snapshot') return;
    const { log } = this.#server;
    const before = progress.next;
    let next = message.index;
    if (message.conflictTerm > 0) {
      // Entries of that term are the same up to where this log has them (3.5).
      const last = log.lastOfTerm(message.conflictTerm);
      if (last !== undefined) next = Math.max(next, Math.min(last + 1, before - 1));
    }
    next = Math.max(next, progress.match + 1);
    if (next >= before) {
      if (message.index <= progress.match) {
        this.#server.mark('debug', 'raft.refusalIgnored', { from: message.from, index: message.index });
      }
      return;
    }
    progress.becomeProbe(next);
    this.isFlushWanted = true;
  }

  #sendTo(progress: Progress, always: boolean): void {
    const { log, config } = this.#server;
    // Also where the window is full: what is on its way may be lost, and cannot be sent again.
    if (progress.next < log.firstIndex && progress.state !== 'snapshot') this.#wantSnapshot(progress);
    let isSent = false;
    while (
      progress.next >= log.firstIndex &&
      progress.next <= log.lastIndex &&
      progress.maySend(config.inFlightBytes)
    ) {
      const batch = this.#batchFrom(progress.next);
      this.#append(progress, progress.next - 1, batch.entries);
      progress.handleSent(batch.last, batch.bytes);
      this.#told(progress);
      isSent = true;
    }
    if (isSent || !always) return;
    const previous = progress.next - 1;
    this.#append(progress, log.termAt(previous) === undefined ? 0 : previous, []);
    this.#told(progress);
  }

  #append(progress: Progress, previousIndex: LogIndex, entries: Batch['entries']): void {
    const { self, term, commitIndex, log, disk, mustAwaitDisk } = this.#server;
    this.#server.send(
      {
        kind: 'append',
        from: self,
        to: progress.server,
        term,
        previousIndex,
        previousTerm: previousIndex === 0 ? 0 : (log.termAt(previousIndex) as number),
        entries,
        commit: commitIndex,
        round: this.#round,
        stable: disk.stableIndex,
      },
      mustAwaitDisk,
    );
  }

  #lacksCommit(progress: Progress): boolean {
    return (
      progress.state === 'replicate' &&
      progress.toldCommit < Math.min(this.#server.commitIndex, progress.next - 1)
    );
  }

  #told(progress: Progress): void {
    progress.toldCommit = Math.min(this.#server.commitIndex, progress.next - 1);
  }

  /** Followers that are equally far share one batch, which may then be encoded once. */
  #batchFrom(from: LogIndex): Batch {
    const { log, config } = this.#server;
    const last = this.#batch;
    if (last !== undefined && last.from === from && last.end === log.lastIndex) return last.batch;
    const batch = log.batch(from, config.appendBytes);
    this.#batch = { from, end: log.lastIndex, batch };
    return batch;
  }

  /** Only for a follower that was heard lately: a snapshot is a lot to send to nobody. And seldom, if one did not help. */
  #wantSnapshot(progress: Progress): void {
    const { nowMs, config, term } = this.#server;
    if (nowMs - progress.lastHeardMs > config.electionTimeoutMs) return;
    if (nowMs - progress.snapshotAtMs < config.electionTimeoutMs) return;
    progress.snapshotAtMs = nowMs;
    progress.becomeSnapshot();
    this.#server.emit({ kind: 'snapshotWanted', to: progress.server, term });
  }
}
