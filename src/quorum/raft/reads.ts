/**
 * Linearizable reads without writing to the log (Ongaro 2014, 6.4).
 *
 * A leader notes its commit index, makes sure that it still leads (a round that a majority answers, or a lease), and
 * names that index: whoever has applied it sees everything that was written before the read was asked. All reads asked
 * while a round is under way share the next one. A follower asks its leader for the index, once for all reads of a turn.
 * That it asks in this term shows, like an answer to a round would, that it had elected nobody else when the reads were asked:
 * where it and the leader are a majority, as of three voters, nobody else is asked.
 *
 * Bounds: `limits.raftReads` reads wait, and as many batches of followers; more are refused. A follower gives up after
 * an election timeout. Numbers on the wire begin at random, so that an answer to an earlier run answers nothing.
 */
import { limits } from '../../kernel/limits.ts';
import type { Deadline } from '../../kernel/time.ts';
import { jointTally } from '../arithmetic/joint.ts';
import type { Replication } from './replication.ts';
import type { Server } from './server.ts';
import type { LogIndex, RaftMessage, ServerId } from './types.ts';

type ReadRequest = Extract<RaftMessage, { kind: 'readRequest' }>;
type ReadAnswer = Extract<RaftMessage, { kind: 'readAnswer' }>;

/** A read asked here, or a follower's batch of them. */
type Read =
  | { readonly kind: 'own'; readonly token: number }
  | { readonly kind: 'forwarded'; readonly server: ServerId; readonly reads: readonly number[] };

interface Forwarded {
  readonly tokens: readonly number[];
  readonly to: ServerId;
  readonly untilMs: number;
}

export class Reads {
  readonly #server: Server;
  readonly #replication: Replication;
  #waiting: Read[] = [];
  #confirming:
    | { readonly round: number; readonly index: LogIndex; readonly reads: readonly Read[] }
    | undefined;
  #toForward: number[] = [];
  readonly #forwarded = new Map<number, Forwarded>();
  #forwardedTokens = 0;
  #number: number;
  /** Leases do not hold in a term in which the leader asked another to take over (6.4.1). */
  isLeaseVoid = false;

  constructor(server: Server, replication: Replication) {
    this.#server = server;
    this.#replication = replication;
    this.#number = server.rng.uint32() * 2 ** 20;
  }

  get isForwardWanted(): boolean {
    return this.#toForward.length > 0;
  }

  deadline(): Deadline | undefined {
    for (const { untilMs } of this.#forwarded.values())
      return { atMs: untilMs, reason: 'raft: read unanswered' };
    return undefined;
  }

  handleAsked(token: number): void {
    const { role, leader } = this.#server;
    if (role === 'leader') this.#ask({ kind: 'own', token });
    else if (leader === undefined || this.#forwardedTokens + this.#toForward.length >= limits.raftReads) {
      this.#server.emit({ kind: 'readRefused', token });
    } else this.#toForward.push(token);
  }

  handleRequest(message: ReadRequest): void {
    const read: Read = { kind: 'forwarded', server: message.from, reads: message.reads };
    if (this.#server.role !== 'leader') this.#refuse(read);
    else if (this.#isProvedBy(message.from)) this.#answer(read, this.#server.commitIndex);
    else this.#ask(read);
  }

  handleAnswer(message: ReadAnswer): void {
    for (const number of message.reads) {
      const forwarded = this.#forwarded.get(number);
      if (forwarded === undefined || forwarded.to !== message.from) continue;
      this.#forwarded.delete(number);
      this.#forwardedTokens -= forwarded.tokens.length;
      for (const token of forwarded.tokens) {
        if (message.ok) this.#server.emit({ kind: 'readReady', token, index: message.index });
        else this.#server.emit({ kind: 'readRefused', token });
      }
    }
  }

  /** True where a round was begun that everybody must hear of. Without it, whatever else is sent begins none. */
  beginRound(): boolean {
    if (this.#waiting.length === 0 || this.#confirming !== undefined) return false;
    if (!this.#server.hasCommittedInTerm) return false;
    const round = this.#replication.beginRound();
    this.#confirming = { round, index: this.#server.commitIndex, reads: this.#waiting };
    this.#waiting = [];
    return true;
  }

  /** Answers what the rounds that were answered so far confirm. */
  confirm(): void {
    const confirming = this.#confirming;
    if (confirming === undefined || this.#replication.confirmedRound < confirming.round) return;
    this.#confirming = undefined;
    for (const read of confirming.reads) this.#answer(read, confirming.index);
    if (this.#waiting.length > 0) this.#replication.isFlushWanted = true;
  }

  /** The commit index moved: reads may have waited for the first entry of this term (6.4). */
  handleCommitted(): void {
    if (this.#waiting.length > 0 && this.#confirming === undefined) this.#replication.isFlushWanted = true;
  }

  forward(): void {
    const { leader, self, term, nowMs, config, mustAwaitDisk } = this.#server;
    const tokens = this.#toForward;
    this.#toForward = [];
    if (leader === undefined || leader === self) {
      for (const token of tokens) this.#server.emit({ kind: 'readRefused', token });
      return;
    }
    const number = ++this.#number;
    this.#forwarded.set(number, { tokens, to: leader, untilMs: nowMs + config.electionTimeoutMs });
    this.#forwardedTokens += tokens.length;
    this.#server.send({ kind: 'readRequest', from: self, to: leader, term, reads: [number] }, mustAwaitDisk);
  }

  expire(): void {
    for (const [number, forwarded] of this.#forwarded) {
      if (forwarded.untilMs > this.#server.nowMs) break;
      this.#giveUp(number, forwarded);
    }
  }

  /** Leader or term changed: nothing that waits can be answered any more. */
  refuseAll(): void {
    this.isLeaseVoid = false;
    const reads = [...(this.#confirming?.reads ?? []), ...this.#waiting];
    this.#confirming = undefined;
    this.#waiting = [];
    for (const read of reads) this.#refuse(read);
    for (const token of this.#toForward) this.#server.emit({ kind: 'readRefused', token });
    this.#toForward = [];
    for (const [number, forwarded] of this.#forwarded) this.#giveUp(number, forwarded);
  }

  #giveUp(number: number, forwarded: Forwarded): void {
    this.#forwarded.delete(number);
    this.#forwardedTokens -= forwarded.tokens.length;
    for (const token of forwarded.tokens) this.#server.emit({ kind: 'readRefused', token });
  }

  #ask(read: Read): void {
    const server = this.#server;
    if (this.#waiting.length >= limits.raftReads) {
      this.#refuse(read);
      return;
    }
    const mayLease = server.config.reads === 'lease' && !this.isLeaseVoid && server.hasCommittedInTerm;
    if (mayLease && server.nowMs < this.#replication.leaseUntilMs) {
      this.#answer(read, server.commitIndex);
      return;
    }
    this.#waiting.push(read);
    this.#replication.isFlushWanted ||= this.#confirming === undefined && server.hasCommittedInTerm;
  }

  /** Whoever asks did so in this term, after the reads had come in there. */
  #isProvedBy(asker: ServerId): boolean {
    const { self, log, hasCommittedInTerm } = this.#server;
    const isOfThisTerm = (voter: ServerId) => voter === self || voter === asker || undefined;
    return hasCommittedInTerm && jointTally(log.configuration, isOfThisTerm) === 'won';
  }

  #answer(read: Read, index: LogIndex): void {
    if (read.kind === 'own') this.#server.emit({ kind: 'readReady', token: read.token, index });
    else this.#sendAnswer(read, index, true);
  }

  #refuse(read: Read): void {
    if (read.kind === 'own') this.#server.emit({ kind: 'readRefused', token: read.token });
    else this.#sendAnswer(read, 0, false);
  }

  #sendAnswer(read: Extract<Read, { kind: 'forwarded' }>, index: LogIndex, ok: boolean): void {
    const { self, term, mustAwaitDisk } = this.#server;
    this.#server.send(
      { kind: 'readAnswer', from: self, to: read.server, term, reads: read.reads, index, ok },
      mustAwaitDisk,
    );
  }
}
