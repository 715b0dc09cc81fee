/**
 * Who leads: terms, votes, and the time-outs that start an election (Ongaro 2014, 3.4, 3.6.1, 3.10, 4.2.3, 9.6).
 *
 * Intuition. A follower that hears no leader first asks whether it would be elected (pre-vote), which changes nothing
 * anywhere; only if a majority says yes does it raise its term and stand. So a server that was cut off, or removed,
 * comes back without unseating anybody. And whoever hears a leader gives no vote until it has missed that leader for an
 * election timeout: only then may a leader count on its lease.
 *
 * A leader whose process ends takes its connections along, which its followers see at once. Where no leader counts on a
 * lease, such a follower asks soon, and gives its vote to who asks. It still takes a majority that lost the leader.
 *
 * A vote is on disk before it is said. A candidate's vote for itself need not be: its requests wait for the disk, so
 * the first answer proves it, and where no other answer is needed nothing is said before the disk has it either.
 */
import type { Deadline } from '../../kernel/time.ts';
import { jointTally } from '../arithmetic/joint.ts';
import type { Server } from './server.ts';
import type { RaftMessage, ServerId, Term } from './types.ts';

type VoteRequest = Extract<RaftMessage, { kind: 'voteRequest' }>;
type VoteAnswer = Extract<RaftMessage, { kind: 'voteAnswer' }>;

interface Transitions {
  becomeFollower(term: Term, leader: ServerId | undefined): void;
  becomeLeader(): void;
}

/** Who has no vote waits this many times longer for its leader: it hears of an idle one seldom, and can elect none. */
const LEARNERS_PATIENCE = 8;
/** Of an election timeout: how long who lost its leader waits at least, for the others to see it too, and how far such are spread. */
const LOST_LEAST = 1 / 24;
const LOST_SPREAD = 1 / 4;
/** Of an election timeout: the longest that others wait, and the time of an election. */
const ALONE = 2.5;

export class Election {
  readonly #server: Server;
  readonly #transitions: Transitions;
  readonly #votes = new Map<ServerId, boolean>();
  #timeoutMs = 0;
  #sinceMs = 0;
  #reachable: ReadonlySet<ServerId> = new Set();
  /** The leader could be reached, can no more, and was not heard since. */
  #isLeaderLost = false;

  constructor(server: Server, transitions: Transitions) {
    this.#server = server;
    this.#transitions = transitions;
    this.restartTimer();
  }

  deadline(): Deadline | undefined {
    const server = this.#server;
    if (server.role === 'leader') return undefined;
    const atMs = this.#sinceMs + this.#timeoutMs;
    if (!server.mayStand) {
      if (server.leader === undefined) return undefined;
      const patience = this.#isLeaderLost ? 1 : LEARNERS_PATIENCE;
      return { atMs: this.#sinceMs + this.#timeoutMs * patience, reason: 'raft: leader silent' };
    }
    if (server.isAlone) return { atMs: this.#sinceMs + this.#aloneMs, reason: 'raft: alone' };
    return { atMs, reason: 'raft: election timeout' };
  }

  /**
   * Nobody has to be asked. But a disk may be of before others came to vote: those have elected one of them by then, who
   * is heard. Behind an empty log there cannot be others.
   */
  get #aloneMs(): number {
    const { log, config } = this.#server;
    return log.lastIndex < log.firstIndex ? 0 : ALONE * config.electionTimeoutMs;
  }

  /** A new random timeout from now on: between one and two election timeouts, so that few stand at once (3.4). */
  restartTimer(): void {
    const { config, rng, nowMs } = this.#server;
    this.#timeoutMs = config.electionTimeoutMs + rng.below(Math.max(1, Math.floor(config.electionTimeoutMs)));
    this.#sinceMs = nowMs;
  }

  /** The leader was heard: the timeout counts from now on. */
  putOff(): void {
    if (this.#isLeaderLost) this.#findLeader();
    else this.#sinceMs = this.#server.nowMs;
  }

  /** Who can be reached besides this server. */
  handleReachable(servers: readonly ServerId[]): void {
    const before = this.#reachable;
    this.#reachable = new Set(servers);
    const { role, leader, config, rng, nowMs } = this.#server;
    if (role === 'leader' || leader === undefined || config.reads === 'lease') return;
    if (this.#reachable.has(leader)) {
      if (this.#isLeaderLost) this.#findLeader();
    } else if (before.has(leader)) {
      this.#isLeaderLost = true;
      const { electionTimeoutMs } = config;
      this.#timeoutMs =
        electionTimeoutMs * LOST_LEAST + rng.below(Math.max(1, Math.floor(electionTimeoutMs * LOST_SPREAD)));
      this.#sinceMs = nowMs;
    }
  }

  expire(): void {
    const deadline = this.deadline();
    if (deadline === undefined || deadline.atMs > this.#server.nowMs) return;
    // Who has no vote only forgets the leader: what it asks of it would be lost.
    if (!this.#server.mayStand) this.#transitions.becomeFollower(this.#server.term, undefined);
    else if (this.#server.isAlone) this.stand(false);
    else this.#askFirst();
  }

  /** Raises the term and asks for votes; `isTransfer` where the leader wants it so (3.10). */
  stand(isTransfer: boolean): void {
    const server = this.#server;
    server.setHardState(server.term + 1, server.self);
    server.role = 'candidate';
    server.leader = undefined;
    this.restartTimer();
    this.#votes.clear();
    this.#votes.set(server.self, true);
    if (!this.#tally()) this.#ask(false, server.term, isTransfer);
  }

  handleRequest(message: VoteRequest): void {
    if (message.isPreVote) this.#answerPreVote(message);
    else this.#answerVote(message);
  }

  handleAnswer(message: VoteAnswer): void {
    const { role } = this.#server;
    if (message.isPreVote ? role !== 'preCandidate' : role !== 'candidate') return;
    if (message.isPreVote && message.granted && message.term !== this.#server.term + 1) return;
    if (!this.#votes.has(message.from)) this.#votes.set(message.from, message.granted);
    this.#tally();
  }

  /** Hears, or is, a leader: then nobody else is wanted, unless the leader itself asks for it (4.2.3). */
  isContent(isTransfer: boolean): boolean {
    const { role, leaderHeardMs, nowMs, config } = this.#server;
    if (isTransfer) return false;
    if (role === 'leader') return true;
    return !this.#isLeaderLost && nowMs - leaderHeardMs < config.electionTimeoutMs;
  }

  #findLeader(): void {
    this.#isLeaderLost = false;
    this.restartTimer();
  }

  #askFirst(): void {
    const server = this.#server;
    server.role = 'preCandidate';
    server.leader = undefined;
    this.restartTimer();
    this.#votes.clear();
    this.#votes.set(server.self, true);
    if (!this.#tally()) this.#ask(true, server.term + 1, false);
  }

  #ask(isPreVote: boolean, term: Term, isTransfer: boolean): void {
    const { self, log, mustAwaitDisk } = this.#server;
    const { incoming, outgoing } = log.configuration;
    for (const to of new Set([...incoming, ...outgoing])) {
      if (to === self) continue;
      this.#server.send(
        {
          kind: 'voteRequest',
          from: self,
          to,
          term,
          isPreVote,
          lastIndex: log.lastIndex,
          lastTerm: log.lastTerm,
          isTransfer,
        },
        mustAwaitDisk,
      );
    }
  }

  /** True where the vote is decided. Answers of servers without a vote are never looked at. */
  #tally(): boolean {
    const server = this.#server;
    const tally = jointTally(server.log.configuration, (voter) => this.#votes.get(voter));
    if (tally === 'pending') return false;
    if (tally === 'lost') this.#transitions.becomeFollower(server.term, undefined);
    else if (server.role === 'preCandidate') this.stand(false);
    else this.#transitions.becomeLeader();
    return true;
  }

  #answerPreVote(message: VoteRequest): void {
    const server = this.#server;
    const granted =
      message.term > server.term &&
      !this.isContent(false) &&
      server.log.isUpToDate(message.lastIndex, message.lastTerm);
    server.send(
      {
        kind: 'voteAnswer',
        from: server.self,
        to: message.from,
        term: granted ? message.term : server.term,
        isPreVote: true,
        granted,
      },
      server.mustAwaitDisk,
    );
  }

  /** The message is of the current term. First come, first served (3.4), if the log is good enough (3.6.1). */
  #answerVote(message: VoteRequest): void {
    const server = this.#server;
    const granted =
      server.leader === undefined &&
      (server.votedFor === undefined || server.votedFor === message.from) &&
      server.log.isUpToDate(message.lastIndex, message.lastTerm);
    if (granted) {
      if (server.role !== 'follower') this.#transitions.becomeFollower(server.term, undefined);
      server.setHardState(server.term, message.from);
      this.restartTimer();
    }
    server.send(
      {
        kind: 'voteAnswer',
        from: server.self,
        to: message.from,
        term: server.term,
        isPreVote: false,
        granted,
      },
      server.mustAwaitDisk,
    );
  }
}
