/**
 * Raft as a pure machine: told what happened, it says what to write, send and apply. It knows nothing of bytes on the
 * wire, of disks or of what commands mean.
 *
 * Intuition. One server leads and alone appends to its log; the others copy it. What a majority has on disk is
 * committed and stays. A new leader needs a majority that finds its log at least as good as theirs, so it has all that
 * is committed.
 *
 * Method. Each concern is a file: `election` (who leads), `replication` and `progress` (the leader's sending and
 * counting), `follower` (taking entries), `reads`, `membership` (joint consensus), `transfer`, over `server` (shared
 * state), `log` and `durability`. This file routes events and keeps the rules that cut across: terms and roles.
 *
 * What the host must keep to:
 * - Effects are executed in order. Persists reach the disk in order; `sendMessage` with `afterDisk` leaves once all that
 *   was persisted before it is on disk; `awaitDisk` is answered by `diskReached`. After a failure nothing that waited is
 *   sent, and `diskFailed` is told.
 * - `deadline()` is asked after every turn; one in the past means: call `expire` as soon as nothing else is queued.
 *   Proposals and reads leave then, all together.
 * - `serversReachable` is at most `limits.raftServers` long.
 * - All servers of a store run with the same `reads` and timeouts; leases count on each other's stickiness.
 *
 * Limits. Servers may crash, be slow, and lose what was not synced; messages may be lost, doubled, reordered. Members
 * that lie are not withstood: nonsense is ignored, but a voter that forges terms or entries can halt or fork the store.
 *
 * Source: Ongaro, "Consensus: Bridging Theory and Practice", Stanford 2014.
 */
import { limits } from '../../kernel/limits.ts';
import type { Rng } from '../../kernel/rng.ts';
import { type Deadline, earliest, type Instant } from '../../kernel/time.ts';
import { Election } from './election.ts';
import { Follower } from './follower.ts';
import { entryBytes } from './log.ts';
import { Membership } from './membership.ts';
import type { ProgressState } from './progress.ts';
import { Reads } from './reads.ts';
import { Replication } from './replication.ts';
import { isSane, isValidConfiguration } from './sane.ts';
import { Server } from './server.ts';
import { Transfer } from './transfer.ts';
import type {
  Configuration,
  HardState,
  LogEntry,
  LogIndex,
  RaftConfig,
  RaftEffect,
  RaftEvent,
  RaftMessage,
  Restored,
  Role,
  ServerId,
  SnapshotPoint,
  Term,
} from './types.ts';

/** How a leader sees one follower. */
interface FollowerProgress {
  readonly server: ServerId;
  /** On its disk, and the same as here. */
  readonly match: LogIndex;
  readonly lastHeardMs: number;
  readonly state: ProgressState;
}

export class Raft {
  readonly #server: Server;
  readonly #election: Election;
  readonly #replication: Replication;
  readonly #follower: Follower;
  readonly #reads: Reads;
  readonly #membership: Membership;
  readonly #transfer: Transfer;
  #told: { readonly role: Role; readonly term: Term; readonly leader: ServerId | undefined };

  constructor(options: {
    readonly self: ServerId;
    readonly config: RaftConfig;
    readonly rng: Rng;
    readonly now: Instant;
    readonly restored: Restored;
  }) {
    const { self, config, rng, now, restored } = options;
    const server = new Server({ self, config, rng, nowMs: now.monoMs, restored });
    this.#server = server;
    // The run before may have promised a leader its lease.
    if (config.reads === 'lease') server.leaderHeardMs = now.monoMs;
    this.#replication = new Replication(server);
    this.#follower = new Follower(server);
    this.#reads = new Reads(server, this.#replication);
    this.#transfer = new Transfer(server, this.#replication);
    this.#membership = new Membership(server, () => {
      this.#replication.retarget();
      this.#replication.isFlushWanted = true;
    });
    this.#election = new Election(server, {
      becomeFollower: (term, leader) => this.#becomeFollower(term, leader),
      becomeLeader: () => this.#becomeLeader(),
    });
    this.#told = { role: server.role, term: server.term, leader: undefined };
  }

  get role(): Role {
    return this.#server.role;
  }

  get term(): Term {
    return this.#server.term;
  }

  /** Of the current term, where known. */
  get leader(): ServerId | undefined {
    return this.#server.leader;
  }

  /** Committed, and handed out by `apply`, up to here. */
  get commitIndex(): LogIndex {
    return this.#server.commitIndex;
  }

  /** Of the first entry that the log still has, or will have. */
  get firstIndex(): LogIndex {
    return this.#server.log.firstIndex;
  }

  get lastIndex(): LogIndex {
    return this.#server.log.lastIndex;
  }

  /** The latest in the log, committed or not: the one in force. */
  get configuration(): Configuration {
    return this.#server.log.configuration;
  }

  get committedConfiguration(): Configuration {
    return this.#server.committedConfiguration;
  }

  /** A change of voters is under way. */
  get isChanging(): boolean {
    return this.#server.isChanging;
  }

  /** It was asked to hand over, and has not yet heard the next leader or given up. */
  get isHandingOver(): boolean {
    return this.#transfer.isUnderWay;
  }

  /** The whole store is this server, and was since what is known to be committed: nobody else has a vote. */
  get isAlone(): boolean {
    return this.#server.isAlone;
  }

  /** As it is now; on disk perhaps a little later. */
  get hardState(): HardState {
    return this.#server.hardState;
  }

  /** Where the log begins. With `entries()` and `hardState`: what a checkpoint holds. */
  get point(): SnapshotPoint {
    return this.pointAt(this.firstIndex - 1) as SnapshotPoint;
  }

  /** What a snapshot of the state machine up to `index` is called; undefined outside the log. */
  pointAt(index: LogIndex): SnapshotPoint | undefined {
    return this.#server.log.pointAt(index);
  }

  termAt(index: LogIndex): Term | undefined {
    return this.#server.log.termAt(index);
  }

  entryAt(index: LogIndex): LogEntry | undefined {
    return this.#server.log.entryAt(index);
  }

  /** A copy of the list, not of the entries. */
  entries(): readonly LogEntry[] {
    return this.#server.log.entries();
  }

  /** At a leader, everybody else that it sends entries to. */
  progress(): readonly FollowerProgress[] {
    return [...this.#replication.progress()].map(({ server, match, lastHeardMs, state }) => ({
      server,
      match,
      lastHeardMs,
      state,
    }));
  }

  handle(event: RaftEvent, now: Instant): readonly RaftEffect[] {
    this.#server.nowMs = now.monoMs;
    if (event.kind === 'received') this.#receive(event.message);
    else this.#handleLocal(event);
    return this.#takeEffects();
  }

  expire(now: Instant): readonly RaftEffect[] {
    this.#server.nowMs = now.monoMs;
    if (this.#server.disk.hasFailed) return this.#takeEffects();
    this.#reads.expire();
    this.#transfer.expire();
    if (this.#server.role === 'leader') this.#expireLeader();
    else {
      if (this.#reads.isForwardWanted) this.#reads.forward();
      this.#election.expire();
    }
    return this.#takeEffects();
  }

  /** What a leader would send once nothing else is queued leaves now: somebody waits for nothing but this. */
  flush(now: Instant): readonly RaftEffect[] {
    const { role, disk } = this.#server;
    this.#server.nowMs = now.monoMs;
    if (role === 'leader' && !disk.hasFailed && this.#replication.isFlushWanted) {
      this.#replication.flush(this.#reads.beginRound());
      this.#reads.confirm();
    }
    return this.#takeEffects();
  }

  deadline(): Deadline | undefined {
    const { role, nowMs, disk } = this.#server;
    if (disk.hasFailed) return undefined;
    const replication = this.#replication;
    const isLeader = role === 'leader';
    if (isLeader ? replication.isFlushWanted : this.#reads.isForwardWanted) {
      return { atMs: nowMs, reason: 'raft: flush' };
    }
    const own = isLeader
      ? { atMs: replication.heartbeatAtMs, reason: 'raft: heartbeat', earlyMs: replication.heartbeatEarlyMs }
      : this.#election.deadline();
    return earliest([own, this.#transfer.deadline(), this.#reads.deadline()]);
  }

  #handleLocal(event: Exclude<RaftEvent, { kind: 'received' }>): void {
    switch (event.kind) {
      case 'proposed':
        this.#propose(event.proposals);
        break;
      case 'diskReached':
        if (this.#server.disk.reach(event.sequence) && this.#server.role === 'leader') this.#advanceCommit();
        break;
      case 'readAsked':
        if (!this.#server.disk.hasFailed) this.#reads.handleAsked(event.token);
        else this.#server.emit({ kind: 'readRefused', token: event.token });
        break;
      case 'changeAsked':
        this.#membership.handleAsked(event.token, event.voters, this.#transfer.isUnderWay);
        break;
      case 'transferAsked':
        this.#transfer.handleAsked(event.token, event.to);
        this.#advanceTransfer();
        break;
      case 'serversReachable':
        this.#reach(event.servers.slice(0, limits.raftServers));
        break;
      case 'snapshotted':
        this.#compact(event.index);
        break;
      case 'snapshotInstalled':
        this.#installSnapshot(event);
        break;
      case 'snapshotSent':
        this.#replication.handleSnapshotSent(event.to, event.index, event.ok);
        break;
      case 'diskFailed':
        this.#failDisk();
        break;
      case 'diskRecovered':
        this.#recoverDisk();
        break;
    }
  }

  #reach(servers: readonly ServerId[]): void {
    this.#replication.handleReachable(servers);
    this.#election.handleReachable(servers);
  }

  #expireLeader(): void {
    const replication = this.#replication;
    const server = this.#server;
    if (replication.heartbeatAtMs - replication.heartbeatEarlyMs <= server.nowMs) {
      if (!replication.hasQuorum()) {
        server.mark('warn', 'raft.quorumLost', { term: server.term });
        this.#becomeFollower(server.term, undefined);
        return;
      }
      this.#reads.beginRound();
      replication.heartbeat();
    } else if (replication.isFlushWanted) {
      replication.flush(this.#reads.beginRound());
    }
    this.#reads.confirm();
  }

  #receive(message: RaftMessage): void {
    const server = this.#server;
    if (server.disk.hasFailed || message.to !== server.self || message.from === server.self) return;
    if (!isSane(message)) {
      server.mark('warn', 'raft.nonsense', { from: message.from, kind: message.kind });
      return;
    }
    if (message.term < server.term) this.#answerStale(message);
    else if (message.term === server.term || this.#adoptTerm(message)) this.#route(message);
  }

  #route(message: RaftMessage): void {
    const server = this.#server;
    switch (message.kind) {
      case 'voteRequest':
        this.#election.handleRequest(message);
        break;
      case 'voteAnswer':
        this.#election.handleAnswer(message);
        break;
      case 'append':
        this.#receiveAppend(message);
        break;
      case 'appendAnswer':
        if (server.role === 'leader') this.#receiveAppendAnswer(message);
        break;
      case 'timeoutNow':
        if (message.from === server.leader && server.mayStand) this.#election.stand(true);
        break;
      case 'readRequest':
        this.#reads.handleRequest(message);
        break;
      case 'readAnswer':
        this.#reads.handleAnswer(message);
        break;
    }
  }

  /** A term that is over: whoever still lives in it, or asks in it, learns of the new one (3.3). */
  #answerStale(message: RaftMessage): void {
    const { self, term, mustAwaitDisk } = this.#server;
    const head = { from: self, to: message.from, term };
    if (message.kind === 'append') {
      const body = { kind: 'appendAnswer', ok: false, index: 0, conflictTerm: 0, round: 0 } as const;
      this.#server.send({ ...head, ...body }, mustAwaitDisk);
    } else if (message.kind === 'voteRequest') {
      const body = { kind: 'voteAnswer', isPreVote: message.isPreVote, granted: false } as const;
      this.#server.send({ ...head, ...body }, mustAwaitDisk);
    } else if (message.kind === 'readAnswer' && !message.ok) {
      this.#reads.handleAnswer(message);
    }
  }

  /** A later term makes everybody follow (3.3), but where it is only asked about, or nobody wants it (4.2.3). */
  #adoptTerm(message: RaftMessage): boolean {
    if (message.kind === 'voteRequest') {
      if (message.isPreVote) return true;
      if (this.#election.isContent(message.isTransfer)) return false;
    }
    if (message.kind === 'voteAnswer' && message.isPreVote && message.granted) return true;
    this.#becomeFollower(message.term, message.kind === 'append' ? message.from : undefined);
    return true;
  }

  #receiveAppend(message: Extract<RaftMessage, { kind: 'append' }>): void {
    const server = this.#server;
    if (server.leader !== message.from) {
      if (server.leader !== undefined) {
        server.mark('error', 'raft.twoLeaders', {
          term: server.term,
          one: server.leader,
          other: message.from,
        });
        return;
      }
      this.#becomeFollower(server.term, message.from);
    }
    server.leaderHeardMs = server.nowMs;
    this.#election.putOff();
    this.#follower.handleAppend(message);
  }

  #receiveAppendAnswer(message: Extract<RaftMessage, { kind: 'appendAnswer' }>): void {
    if (this.#replication.handleAnswer(message)) this.#advanceCommit();
    this.#reads.confirm();
    this.#advanceTransfer();
  }

  #advanceCommit(): void {
    if (!this.#replication.advanceCommit()) return;
    this.#reads.handleCommitted();
    if (this.#membership.handleCommitted()) this.#leave();
  }

  #advanceTransfer(): void {
    if (this.#transfer.advance()) this.#reads.isLeaseVoid = true;
  }

  #propose(proposals: readonly { readonly token: number; readonly command: Uint8Array }[]): void {
    const server = this.#server;
    for (const { token, command } of proposals) {
      if (server.role !== 'leader') {
        server.emit({ kind: 'refused', token, reason: 'notLeader' });
      } else if (
        this.#transfer.isUnderWay ||
        (server.uncommittedBytes > 0 &&
          server.uncommittedBytes + command.length > server.config.uncommittedBytes)
      ) {
        server.emit({ kind: 'refused', token, reason: 'busy' });
      } else {
        const { index, term } = server.appendOwn({ kind: 'command', command });
        server.emit({ kind: 'appended', token, index, term });
        this.#replication.isFlushWanted = true;
      }
    }
  }

  #becomeFollower(term: Term, leader: ServerId | undefined): void {
    const server = this.#server;
    const wasLeader = server.role === 'leader';
    const isOther = term !== server.term || leader !== server.leader;
    server.role = 'follower';
    server.leader = leader;
    if (wasLeader) {
      this.#replication.end();
      this.#membership.end();
    }
    if (wasLeader || isOther) {
      this.#reads.refuseAll();
      this.#follower.forgetLeader();
    }
    if (term > server.term) server.setHardState(term, undefined);
    if (leader !== undefined) this.#transfer.handleLeader(leader);
    this.#election.restartTimer();
  }

  #becomeLeader(): void {
    const server = this.#server;
    server.role = 'leader';
    server.leader = server.self;
    this.#reads.refuseAll();
    this.#transfer.abandon();
    server.uncommittedBytes = 0;
    for (const entry of server.log.slice(server.commitIndex + 1, server.log.lastIndex)) {
      server.uncommittedBytes += entryBytes(entry);
    }
    this.#replication.begin();
    // Whoever joins later begins with an empty log: the first entry of all tells it who votes.
    const { configuration, configurationIndex } = server.log;
    server.appendOwn(configurationIndex === 0 ? { kind: 'configuration', configuration } : { kind: 'blank' });
    this.#replication.heartbeat();
  }

  /** Its own removal is committed: it tells that, asks the fittest to go on, and leads no more (4.2.2). */
  #leave(): void {
    const server = this.#server;
    this.#replication.flush(true);
    let fittest: FollowerProgress | undefined;
    for (const voter of server.log.configuration.incoming) {
      const progress = this.#replication.progressOf(voter);
      if (progress !== undefined && progress.match > (fittest?.match ?? -1)) fittest = progress;
    }
    if (fittest !== undefined) this.#transfer.tellToStand(fittest.server);
    this.#becomeFollower(server.term, undefined);
  }

  #installSnapshot(event: Extract<RaftEvent, { kind: 'snapshotInstalled' }>): void {
    const server = this.#server;
    const { point, from, term } = event;
    const isLeader = server.role === 'leader' && term <= server.term;
    if (isLeader || point.index <= server.commitIndex || !isValidConfiguration(point.configuration)) return;
    if (term > server.term) this.#becomeFollower(term, from);
    const stays = server.log.reset(point);
    server.disk.reset(point.index, stays);
    server.jumpTo(point.index);
    if (term === server.term && server.role !== 'leader' && !server.disk.hasFailed) {
      this.#follower.confirm(event, point.index);
    }
  }

  #compact(index: LogIndex): void {
    const { log, disk, commitIndex, config } = this.#server;
    if (index > commitIndex) return;
    // Others may have committed what this disk has not taken yet: should it fail, it must be given that again.
    log.compact(
      Math.min(index, disk.stableIndex),
      config.tailEntries ?? limits.raftTailEntries,
      limits.raftTailBytes,
    );
  }

  #failDisk(): void {
    const server = this.#server;
    if (server.disk.hasFailed) return;
    server.disk.fail();
    this.#transfer.abandon();
    this.#becomeFollower(server.term, undefined);
  }

  #recoverDisk(): void {
    const server = this.#server;
    if (!server.disk.hasFailed) return;
    server.disk.recover();
    server.persistHardState();
    server.persistLog();
    this.#election.restartTimer();
  }

  #takeEffects(): readonly RaftEffect[] {
    const { role, term, leader } = this.#server;
    const told = this.#told;
    if (told.role !== role || told.term !== term || told.leader !== leader) {
      this.#told = { role, term, leader };
      this.#server.emit({ kind: 'leadership', role, term, leader });
    }
    return this.#server.takeEffects();
  }
}
