/**
 * The embedded quorum store of a node, as one pure machine: which store it carries, who its voters are, and the calls
 * of this node on their way to a majority and back.
 *
 * Intuition: every member carries a copy of the store and follows its log; only the voters count. A call is a command
 * that some member hands to the leader. It is answered by the member's own copy when that applies the command, so an
 * answer is never newer than what its caller reads next to it. A strong read asks for the index that the copy must
 * have reached.
 *
 * Limits: a member is trusted with what it proposes (it may write any key); the guard stands before this machine.
 */
import type { PeerDown, PeerUp, Received } from '../kernel/effects.ts';
import type { Result } from '../kernel/errors.ts';
import type { NodeId } from '../kernel/ids.ts';
import type { Machine } from '../kernel/machine.ts';
import type { Cryptography } from '../kernel/ports.ts';
import type { Rng } from '../kernel/rng.ts';
import { type Deadline, earliest, type Instant, isDue, mayBeDue } from '../kernel/time.ts';
import { Calls } from './calls/calls.ts';
import { Forwarded } from './calls/forwarded.ts';
import { freshIds } from './calls/fresh-ids.ts';
import type { QuorumConfig } from './config.ts';
import { decodeFrame, encodeGreeting, type Greeting, type StoreFrame } from './frames.ts';
import { leadersCare, unasked } from './leaders-care.ts';
import { type QuorumEffect, type QuorumEvent, type QuorumRequested, unavailable } from './messages.ts';
import { Orders } from './orders.ts';
import type { Configuration, ServerId } from './raft/types.ts';
import { encodeCommand } from './register/command.ts';
import { NEWEST_FORMAT } from './register/format.ts';
import type { Applied } from './register/outcome.ts';
import { Register } from './register/register.ts';
import { nodeOf } from './server.ts';
import { type QuorumStatus, statusOf, type Unavailability, whyUnavailable } from './status.ts';
import { Carrier } from './store/carrier.ts';
import { LeaseKeeper } from './store/lease-keeper.ts';
import type { Replica, ReplicaFact } from './store/replica.ts';
import { Trust } from './store/trust.ts';
import { Upkeep } from './upkeep.ts';
import { decide } from './voters/founding.ts';
import { Neighbours } from './voters/neighbours.ts';
import { ownGreeting } from './voters/own-greeting.ts';
import { VainJoins } from './voters/vain-joins.ts';

interface QuorumOptions {
  readonly self: NodeId;
  readonly config: QuorumConfig;
  readonly cryptography: Cryptography;
  /** The failure detector doubts that the node is there: it then counts as missing in what callers are told. */
  readonly isDoubtful?: (node: NodeId) => boolean;
  /** Random for this run: the ids that it makes are made of it. */
  readonly nonce: Uint8Array;
  readonly rng: Rng;
  readonly now: Instant;
}

const STREAM = 'quorum';
const NOW_STREAM = 'quorum/now';
/** How long a store must have had no leader here before a recovered one takes its place. */
const LEADERLESS_MS = 5_000;
const EMPTY_REGISTER = new Register();

interface Greeted {
  readonly format: number;
  readonly hasData: boolean;
  readonly configuration: Configuration | undefined;
}

export class Quorum implements Machine<QuorumEvent, QuorumEffect> {
  readonly #options: QuorumOptions;
  readonly #carrier: Carrier;
  readonly #neighbours: Neighbours;
  readonly #freshId: () => number;
  readonly #calls: Calls;
  readonly #forwarded = new Forwarded();
  readonly #leases = new LeaseKeeper();
  readonly #vainJoins = new VainJoins();
  readonly #trust: Trust;
  readonly #boot: number;
  readonly #orders: Orders;
  readonly #upkeep: Upkeep;
  #storelessSinceMs: number;
  #leaderlessSinceMs: number | undefined;
  /** What may change of the own greeting without an event of its own, as it was told. */
  #greeted: Greeted | undefined;
  #isDiskBroken = false;
  #effects: QuorumEffect[] = [];

  constructor(options: QuorumOptions) {
    const { self, config, rng, now } = options;
    this.#options = options;
    this.#freshId = freshIds(options.cryptography, options.nonce);
    this.#neighbours = new Neighbours(options.isDoubtful ?? (() => false), Math.floor(this.#freshId() / 2));
    const { raft, newestFormat = NEWEST_FORMAT } = config;
    this.#carrier = new Carrier({ self, raft, newestFormat, freshId: this.#freshId, rng });
    this.#trust = new Trust(this.#carrier, this.#neighbours, config.raft.electionTimeoutMs, now);
    this.#calls = new Calls(this.#freshId, (id, result) => this.#answer(id, result));
    this.#orders = new Orders(this.#carrier, this.#neighbours, config.mayVote, {
      restart: (at) => this.#restart(false, at),
      began: (effects, at) => this.#began(effects, at),
      propose: (replica, command, at) => this.#take(replica.step(unasked(command), at), at),
      answer: (id, result) => this.#answer(id, result),
      answerBehindDisk: (id, result) => this.#effects.push({ kind: 'answer', stream: STREAM, id, result }),
    });
    this.#boot = this.#freshId();
    this.#storelessSinceMs = now.monoMs;
    this.#upkeep = new Upkeep(now);
  }

  /** This node's copy, as far as it has followed; empty where it carries no store. Read only. */
  get register(): Register {
    return this.replica?.register ?? EMPTY_REGISTER;
  }

  /** For checkers to look into; do not call its methods. */
  get replica(): Replica | undefined {
    return this.#carrier.replica;
  }

  /** What the journal held, tag stripped; once, first. See `Carrier.load`. */
  load(records: readonly Uint8Array[], isSuspect: boolean, now: Instant): void {
    this.#effects.push(...this.#carrier.load(records, isSuspect, now));
    this.#leaderlessSinceMs = now.monoMs;
  }

  checkpoint(): Generator<Uint8Array> {
    return this.#carrier.checkpoint();
  }

  handle(event: QuorumEvent, now: Instant): readonly QuorumEffect[] {
    switch (event.kind) {
      case 'peerUp':
        this.#peerUp(event, now);
        break;
      case 'peerDown':
        this.#peerDown(event, now);
        break;
      case 'received':
        this.#received(event, now);
        break;
      case 'quorumRequested':
        this.#requested(event, now);
        break;
      case 'quorumCancelled':
        this.#calls.cancel(event.id);
        this.#orders.cancel(event.id);
        break;
      case 'diskReached':
        this.#diskReached(event.sequence, now);
        break;
      case 'diskFailed':
      case 'diskRecovered':
        this.#isDiskBroken = event.kind === 'diskFailed';
        this.#orders.failAll(unavailable('The disk of this node fails.', 'unknown'));
        this.#take(this.replica?.step({ kind: event.kind }, now), now);
        if (event.kind === 'diskRecovered') this.#effects.push(...this.#carrier.diskRecovered());
        break;
    }
    return this.#settle(now);
  }

  expire(now: Instant): readonly QuorumEffect[] {
    if (this.#calls.deadline !== undefined)
      this.#take(this.#calls.propose(this.replica, this.#isDiskBroken, now), now);
    this.#take(this.replica?.expire(now), now);
    if (isDue(this.#leases.deadline, now)) this.#endLeases(now);
    if (mayBeDue(this.#upkeep.deadline, now)) this.#tick(now);
    return this.#settle(now);
  }

  /** Before this node stops: where it leads, another is to do so. `isHandingOver` until that is heard, or in vain. */
  handOver(now: Instant): readonly QuorumEffect[] {
    this.#take(this.replica?.handOver(now), now);
    return this.#settle(now);
  }

  get isHandingOver(): boolean {
    return this.replica?.raft.isHandingOver === true;
  }

  deadline(): Deadline | undefined {
    return (
      this.#calls.deadline ??
      earliest([this.replica?.deadline(), this.#leases.deadline, this.#trust.deadline, this.#upkeep.deadline])
    );
  }

  status(): QuorumStatus {
    const { self, config } = this.#options;
    return statusOf(self, config.mayVote, this.#carrier, this.#neighbours);
  }

  #diskReached(sequence: number, now: Instant): void {
    if (this.#carrier.isBeginning) {
      this.#effects.push(...this.#carrier.diskReached(sequence));
      this.#orders.diskReached();
      this.#greet(now);
    }
    this.#take(this.replica?.diskReached(sequence, now), now);
  }

  // Neighbours.

  #peerUp({ peer }: PeerUp, now: Instant): void {
    this.#upkeep.stir(now);
    this.#neighbours.up(peer);
    this.#greet(now);
    this.#reach(now);
  }

  #peerDown({ peer }: PeerDown, now: Instant): void {
    this.#upkeep.stir(now);
    this.#neighbours.down(peer);
    this.#reach(now);
  }

  #received({ from, bytes }: Received, now: Instant): void {
    const frame = decodeFrame(bytes, from, this.#options.self);
    if (frame === undefined) {
      this.#effects.push({ kind: 'penalise', peer: from, reason: 'a malformed frame of the quorum store' });
    } else if (frame.kind === 'greeting') {
      this.#upkeep.stir(now);
      this.#neighbours.greeted(from, frame, now);
      this.#examine(from, frame, now);
      this.#heed(now);
      this.#reach(now);
      this.#greet(now);
    } else {
      const replica = this.replica;
      if (frame.store === replica?.carried.store && frame.to === replica.server)
        this.#addressed(replica, frame.from, frame.frame, now);
    }
  }

  #addressed(replica: Replica, from: ServerId, frame: StoreFrame, now: Instant): void {
    if (frame.kind === 'propose') {
      this.#take(this.#forwarded.propose(replica, from, frame.requests, now), now);
    } else if (frame.kind === 'refuse') {
      this.#calls.refusedElsewhere(frame.sequences, frame.reason === 'busy', now);
    } else if (frame.kind === 'outdated') {
      for (const sequence of frame.sequences) this.#calls.outdated(frame.client, sequence, frame.index);
    } else {
      // Before its greeting nothing is known of the run that speaks.
      if (!this.#neighbours.hasGreeted(nodeOf(from))) return;
      if (frame.kind === 'promise') {
        this.#trust.promised(from, frame.promised);
        return;
      }
      if (frame.kind === 'raft') {
        this.#trust.heard(frame.message);
        if (this.#trust.isSuperseded(frame.message)) this.#renounce(now);
      }
      this.#take(replica.received(from, frame, now), now);
    }
  }

  #examine(from: NodeId, greeting: Greeting, now: Instant): void {
    this.#trust.examine(from, greeting);
    if (this.#trust.isDoubted(from, greeting)) this.#renounce(now);
  }

  #renounce(now: Instant): void {
    this.#effects.push(...this.#carrier.renounce(now));
    this.#reach(now);
    this.#greet(now);
  }

  /** Tells neighbours where what they were told is no longer so, or may have been lost. */
  #greet(now: Instant): void {
    if (this.#carrier.isBeginning) return;
    const own = ownGreeting(this.#carrier, this.#options.config, this.#boot);
    const { format, hasData } = own;
    this.#greeted = { format: format.store, hasData, configuration: this.replica?.raft.configuration };
    for (const { peer, greeting } of this.#neighbours.takeGreetings(own, now)) {
      const bytes = encodeGreeting(greeting);
      // Behind the disk: others take up a store that they hear of, so it must not vanish in a crash.
      this.#effects.push({ kind: 'send', stream: STREAM, to: [peer], channel: 'quorum', bytes });
    }
  }

  #reach(now: Instant): void {
    const replica = this.replica;
    if (replica === undefined) return;
    const { carried, server, raft } = replica;
    const { store } = carried;
    const servers = this.#neighbours.reach(store, replica.register.format, server, raft.configuration, now);
    this.#take(replica.reach(servers, now), now);
  }

  // Which store.

  /** Joins, founds or gives up a store where what is known of the neighbours calls for it. */
  #heed(now: Instant): void {
    // What is not understood is not given up either.
    if (this.#carrier.isBeginning || this.#carrier.neededFormat !== undefined) return;
    const { store, mayHoldData, isUnknown, identity, isFresh } = this.#carrier;
    const voters = this.replica?.raft.configuration.incoming.map(nodeOf) ?? [];
    const decision = decide({
      self: this.#options.self,
      greetings: this.#neighbours.greetings,
      carried: store === undefined ? undefined : { store, hasData: mayHoldData, voters, isUnknown },
      hasLeader: this.replica?.raft.leader !== undefined,
      isLeaderless: now.monoMs - (this.#leaderlessSinceMs ?? now.monoMs) >= LEADERLESS_MS,
      dissolved: identity.dissolved,
      newestFormat: this.#carrier.newestFormat,
      avoided: this.#vainJoins.avoided(now),
      mayFound: this.#options.config.mayFound && isFresh,
      hasWaited: now.monoMs - this.#storelessSinceMs >= this.#options.config.foundAfterMs,
    });
    if (decision.kind === 'join') this.#began(this.#carrier.join(decision.store, now), now);
    else if (decision.kind === 'found') this.#began(this.#carrier.found(now), now);
    else if (decision.kind === 'drop') this.#drop(decision.tookNoEffect, now);
    else if (decision.kind === 'release') this.#release(now);
  }

  #release(now: Instant): void {
    const { store } = this.#carrier;
    for (const [node, greeting] of this.#neighbours.greetings)
      if (greeting?.store === store) this.#vainJoins.note(node, now);
    this.#gone(this.#carrier.release(), true, now);
  }

  #began(effects: readonly QuorumEffect[], now: Instant): void {
    this.#effects.push(...effects, { kind: 'registerReplaced', isSameStore: false });
    this.#leaderlessSinceMs = now.monoMs;
    this.#greet(now);
    this.#reach(now);
    this.#calls.wake();
  }

  #drop(tookNoEffect: boolean, now: Instant): void {
    this.#gone(this.#carrier.drop(), tookNoEffect, now);
  }

  #gone(effects: readonly QuorumEffect[], tookNoEffect: boolean, now: Instant): void {
    this.#effects.push(...effects, { kind: 'registerReplaced', isSameStore: false });
    this.#restart(tookNoEffect, now);
    this.#storelessSinceMs = now.monoMs;
    this.#greet(now);
    this.#heed(now);
  }

  #restart(tookNoEffect: boolean, now: Instant): void {
    this.#neighbours.forgetServers();
    this.#leases.led(undefined);
    this.#calls.restart(tookNoEffect, now);
  }

  // Calls of this node.

  #requested({ id, call }: QuorumRequested, now: Instant): void {
    this.#upkeep.hasten(now);
    switch (call.op) {
      case 'found':
      case 'recover':
      case 'abandon':
        this.#orders.handle(id, call, now);
        return;
      default:
        this.#take(this.#calls.ask(id, call, this.replica, now), now);
    }
  }

  // What the replica says.

  #take(effects: readonly (QuorumEffect | ReplicaFact)[] | undefined, now: Instant): void {
    if (effects === undefined) return;
    for (const effect of effects) {
      switch (effect.kind) {
        case 'applied':
          this.#applied(effect.applied, now);
          break;
        case 'replaced':
          this.#effects.push({ kind: 'registerReplaced', isSameStore: true });
          // What this node asked may be answered within: asking again is answered with the same.
          this.#calls.resendAll();
          break;
        case 'dissolved':
          this.#drop(effect.tookNoEffect, now);
          // What else the replica ordered is of a store that is gone: on disk it would spoil the next.
          return;
        case 'refused':
        case 'outdated':
        case 'readReady':
        case 'readRefused':
          this.#calls.told(effect, now);
          break;
        case 'reconfigured':
          this.#reach(now);
          this.#greet(now);
          break;
        case 'leadership':
          this.#leadershipChanged(now);
          break;
        default:
          this.#effects.push(effect);
      }
    }
  }

  #applied(applied: Applied, now: Instant): void {
    if (applied.changes.length > 0)
      this.#effects.push({
        kind: 'registerChanged',
        revision: applied.revision,
        changes: applied.changes,
      });
    if (applied.leaseChanges.length > 0) this.#leases.changed(this.replica, applied.leaseChanges, now);
    this.#calls.applied(applied, now);
  }

  #endLeases(now: Instant): void {
    const replica = this.replica;
    const leases = replica === undefined ? [] : this.#leases.takeDue(replica, now);
    if (replica === undefined || leases.length === 0) return;
    this.#take(replica.step(unasked(encodeCommand({ kind: 'expireLeases', leases })), now), now);
  }

  #leadershipChanged(now: Instant): void {
    this.#upkeep.stir(now);
    const replica = this.replica;
    this.#leases.led(replica, now);
    if (replica === undefined) return;
    const hasLeader = replica.raft.leader !== undefined;
    this.#leaderlessSinceMs = hasLeader ? undefined : (this.#leaderlessSinceMs ?? now.monoMs);
    if (hasLeader) this.#calls.resendAll();
  }

  // Upkeep.

  #tick(now: Instant): void {
    this.#upkeep.done();
    this.#heed(now);
    this.#greet(now);
    const replica = this.replica;
    this.#take(this.#calls.askAgain(replica, now), now);
    this.#passRevision(now);
    this.#calls.wake();
    this.#calls.giveUpLate(now, () => this.#whyNot());
    if (replica?.isLeader !== true) return;
    for (const order of leadersCare(replica, this.#carrier, this.#neighbours, this.#options.config, now))
      this.#take(replica.step(order, now), now);
  }

  /** Nothing is under way, as far as this node knows. */
  get #isQuiet(): boolean {
    const { replica } = this;
    return (
      this.#calls.isIdle &&
      replica?.raft.leader !== undefined &&
      this.#neighbours.isSettled &&
      this.#isGreetingTrue &&
      replica.register.revision >= this.#carrier.identity.revisionToPass
    );
  }

  /** Neighbours were told of the voters, the format and the data that the copy has now. */
  get #isGreetingTrue(): boolean {
    const { format, hasData, replica } = this.#carrier;
    const greeted = this.#greeted;
    return (
      greeted !== undefined &&
      greeted.format === format.store &&
      greeted.hasData === hasData &&
      greeted.configuration === replica?.raft.configuration
    );
  }

  #passRevision(now: Instant): void {
    const { replica } = this;
    const leader = replica?.raft.leader;
    if (replica === undefined || leader === undefined) return;
    const { revisionToPass } = this.#carrier.identity;
    if (replica.register.revision >= revisionToPass) return;
    const command = encodeCommand({ kind: 'advance', revision: revisionToPass });
    if (replica.isLeader) this.#take(replica.step(unasked(command), now), now);
    else
      this.#effects.push(
        ...replica.sendTo(leader, { kind: 'propose', requests: [{ sequence: 0, command }] }),
      );
  }

  #whyNot(): Unavailability {
    return whyUnavailable(this.#carrier, this.#neighbours, this.#isDiskBroken);
  }

  #settle(now: Instant): readonly QuorumEffect[] {
    this.#trust.consider(now);
    const { replica } = this;
    this.#upkeep.settle(() => this.#isQuiet, replica?.isLeader === true, now);
    if (replica !== undefined) this.#calls.answerReads(replica);
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }

  #answer(id: number, result: Result<unknown>): void {
    this.#effects.push({ kind: 'answer', stream: NOW_STREAM, id, result });
  }
}
