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
import { fail, ok, type Result } from '../kernel/errors.ts';
import type { NodeId } from '../kernel/ids.ts';
import type { Machine } from '../kernel/machine.ts';
import type { Cryptography } from '../kernel/ports.ts';
import type { Rng } from '../kernel/rng.ts';
import { type Deadline, earliest, type Instant, isDue } from '../kernel/time.ts';
import { Calls } from './calls/calls.ts';
import { Forwarded } from './calls/forwarded.ts';
import { freshIds } from './calls/fresh-ids.ts';
import { conflict } from './calls/requests.ts';
import type { QuorumConfig } from './config.ts';
import { decodeFrame, encodeGreeting, type Greeting, type StoreFrame } from './frames.ts';
import type { QuorumCall, QuorumEffect, QuorumEvent, QuorumRequested } from './messages.ts';
import { unavailable } from './messages.ts';
import type { Configuration, ServerId } from './raft/types.ts';
import { encodeCommand } from './register/command.ts';
import { NEWEST_FORMAT } from './register/format.ts';
import type { Applied } from './register/outcome.ts';
import { Register } from './register/register.ts';
import { nodeOf, parseStoreId } from './server.ts';
import { type QuorumStatus, statusOf, type Unavailability, whyUnavailable } from './status.ts';
import { Carrier } from './store/carrier.ts';
import { LeaseKeeper } from './store/lease-keeper.ts';
import { abandonCommand, dissolveCommand, type Replica, type ReplicaFact } from './store/replica.ts';
import { Trust } from './store/trust.ts';
import { formatConflict, raiseCommand } from './voters/formats.ts';
import { decide, yields } from './voters/founding.ts';
import { Neighbours } from './voters/neighbours.ts';
import { ownGreeting } from './voters/own-greeting.ts';
import { VainJoins } from './voters/vain-joins.ts';
import { membersOf } from './voters/voter-candidates.ts';
import { nextVoters } from './voters/voter-policy.ts';
import { wishesOf } from './voters/voter-wishes.ts';

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

/** While something is under way, and for a while after what a leader may have to act on. */
const TICK_MS = 200;
const RESTLESS_MS = 10_000;
/** Of a leader with nothing to do: who votes is a matter of time too. */
const LEADERS_TICK_MS = 1_000;
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
  /** Answers to a person's orders that wait for a store to be written. */
  readonly #orders = new Map<number, Result<unknown>>();
  #storelessSinceMs: number;
  #leaderlessSinceMs: number | undefined;
  /** When upkeep is due; `undefined` while there is nothing to look after. */
  #tickMs: number | undefined;
  #restlessUntilMs: number;
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
    this.#boot = this.#freshId();
    this.#storelessSinceMs = now.monoMs;
    this.#tickMs = now.monoMs + TICK_MS;
    this.#restlessUntilMs = now.monoMs + RESTLESS_MS;
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
        this.#orders.delete(event.id);
        break;
      case 'diskReached':
        this.#diskReached(event.sequence, now);
        break;
      case 'diskFailed':
      case 'diskRecovered':
        this.#isDiskBroken = event.kind === 'diskFailed';
        for (const id of this.#orders.keys())
          this.#answer(id, fail(unavailable('The disk of this node fails.', 'unknown')));
        this.#orders.clear();
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
    if (isDue(this.#tickDeadline, now)) this.#tick(now);
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
      earliest([this.replica?.deadline(), this.#leases.deadline, this.#trust.deadline, this.#tickDeadline])
    );
  }

  get #tickDeadline(): Deadline | undefined {
    return this.#tickMs === undefined ? undefined : { atMs: this.#tickMs, reason: 'quorum upkeep' };
  }

  status(): QuorumStatus {
    const { self, config } = this.#options;
    return statusOf(self, config.mayVote, this.#carrier, this.#neighbours);
  }

  #diskReached(sequence: number, now: Instant): void {
    if (this.#carrier.isBeginning) {
      this.#effects.push(...this.#carrier.diskReached(sequence));
      const orders = this.#carrier.isBeginning ? [] : [...this.#orders];
      if (orders.length > 0) this.#orders.clear();
      for (const [id, result] of orders) this.#answerOrder(id, result);
      this.#greet(now);
    }
    this.#take(this.replica?.diskReached(sequence, now), now);
  }

  // Neighbours.

  #peerUp({ peer }: PeerUp, now: Instant): void {
    this.#stir(now);
    this.#neighbours.up(peer);
    this.#greet(now);
    this.#reach(now);
  }

  #peerDown({ peer }: PeerDown, now: Instant): void {
    this.#stir(now);
    this.#neighbours.down(peer);
    this.#reach(now);
  }

  #received({ from, bytes }: Received, now: Instant): void {
    const frame = decodeFrame(bytes, from, this.#options.self);
    if (frame === undefined) {
      this.#effects.push({ kind: 'penalise', peer: from, reason: 'a malformed frame of the quorum store' });
    } else if (frame.kind === 'greeting') {
      this.#stir(now);
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

  /** As leader of an empty store that met another: give way by a command, which takes effect only while it is empty. */
  #considerYielding(replica: Replica, now: Instant): void {
    const ours = { store: replica.carried.store, hasData: this.#carrier.hasData };
    for (const [store, { hasData }] of this.#neighbours.otherStores(ours.store)) {
      if (this.#carrier.identity.dissolved.includes(store) || !yields(ours, { store, hasData })) continue;
      this.#proposeUnasked(replica, dissolveCommand(store), now);
      return;
    }
  }

  // Calls of this node.

  #requested({ id, call }: QuorumRequested, now: Instant): void {
    this.#hasten(now);
    switch (call.op) {
      case 'found':
      case 'recover':
      case 'abandon':
        this.#answerOrder(id, this.#administer(call, now));
        return;
      default:
        this.#take(this.#calls.ask(id, call, this.replica, now), now);
    }
  }

  /** A store that was begun at a person's order is on disk before that is said. */
  #answerOrder(id: number, result: Result<unknown>): void {
    if (!result.ok) this.#answer(id, result);
    else if (this.#carrier.isBeginning) this.#orders.set(id, result);
    else this.#effects.push({ kind: 'answer', stream: STREAM, id, result });
  }

  /** What a person orders where the rules alone must not decide. */
  #administer(
    call: Extract<QuorumCall, { op: 'found' | 'recover' | 'abandon' }>,
    now: Instant,
  ): Result<unknown> {
    const replica = this.replica;
    if (this.#carrier.isBeginning) return fail(conflict('The store is being written to the disk.'));
    const wrong = formatConflict(this.#carrier);
    if (wrong !== undefined) return fail(wrong);
    if (call.op === 'found') {
      if (replica !== undefined) return fail(conflict('This node carries a store already.'));
      this.#began(this.#carrier.found(now), now);
    } else if (replica === undefined) {
      return fail(conflict('This node carries no store.'));
    } else if (call.op === 'recover') {
      if (replica.raft.leader !== undefined)
        return fail(conflict('The store has a leader: its voters are not lost.'));
      this.#restart(false, now);
      this.#began(this.#carrier.recover(now), now);
    } else {
      const keep = parseStoreId(Number.parseInt(call.keep, 36));
      if (keep === undefined || !this.#neighbours.otherStores(replica.carried.store).has(keep))
        return fail(conflict(`No member that can be reached carries the store ${call.keep}.`));
      if (!replica.isLeader)
        return fail(conflict('Only the leader of the store that is given up can do this.'));
      this.#proposeUnasked(replica, abandonCommand(keep), now);
    }
    return ok({ store: this.status().store });
  }

  // Proposals.

  /** A command that nobody waits for. */
  #proposeUnasked(replica: Replica, command: Uint8Array, now: Instant): void {
    this.#take(replica.step({ kind: 'proposed', proposals: [{ token: 0, command }] }, now), now);
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
    this.#proposeUnasked(replica, encodeCommand({ kind: 'expireLeases', leases }), now);
  }

  #leadershipChanged(now: Instant): void {
    this.#stir(now);
    const replica = this.replica;
    this.#leases.led(replica, now);
    if (replica === undefined) return;
    const hasLeader = replica.raft.leader !== undefined;
    this.#leaderlessSinceMs = hasLeader ? undefined : (this.#leaderlessSinceMs ?? now.monoMs);
    if (hasLeader) this.#calls.resendAll();
  }

  // Upkeep.

  #tick(now: Instant): void {
    this.#tickMs = undefined;
    this.#heed(now);
    this.#greet(now);
    const replica = this.replica;
    this.#take(this.#calls.askAgain(replica, now), now);
    this.#passRevision(now);
    this.#calls.wake();
    this.#calls.giveUpLate(now, () => this.#whyNot());
    if (replica?.isLeader !== true) return;
    this.#considerYielding(replica, now);
    const raise = raiseCommand(this.#carrier.newestFormat, replica, this.#neighbours);
    if (raise !== undefined) this.#proposeUnasked(replica, raise, now);
    this.#considerVoters(replica, now);
  }

  /** Something changed that the rules on stores and voters go by. */
  #stir(now: Instant): void {
    this.#restlessUntilMs = now.monoMs + RESTLESS_MS;
    this.#hasten(now);
  }

  /** A leader that had nothing to do may have put upkeep off for longer. */
  #hasten(now: Instant): void {
    this.#tickMs = Math.min(this.#tickMs ?? Number.POSITIVE_INFINITY, now.monoMs + TICK_MS);
  }

  #nextTick(now: Instant): number | undefined {
    const { replica } = this;
    const isQuiet =
      this.#calls.isIdle &&
      replica?.raft.leader !== undefined &&
      this.#neighbours.isSettled &&
      this.#isGreetingTrue &&
      replica.register.revision >= this.#carrier.identity.revisionToPass;
    if (!isQuiet) return now.monoMs + TICK_MS;
    if (!replica.isLeader) return undefined;
    return now.monoMs + (now.monoMs < this.#restlessUntilMs ? TICK_MS : LEADERS_TICK_MS);
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
    if (replica.isLeader) this.#proposeUnasked(replica, command, now);
    else
      this.#effects.push(
        ...replica.sendTo(leader, { kind: 'propose', requests: [{ sequence: 0, command }] }),
      );
  }

  #whyNot(): Unavailability {
    return whyUnavailable(this.#carrier, this.#neighbours, this.#isDiskBroken);
  }

  #considerVoters(replica: Replica, now: Instant): void {
    const { raft, register, server } = replica;
    if (raft.isChanging) return;
    const voters = nextVoters(
      this.#options.config.voters,
      server,
      raft.configuration,
      membersOf(replica, this.#neighbours),
      wishesOf(register).get(this.#options.self),
      now.monoMs,
    );
    if (voters !== undefined) this.#take(replica.step({ kind: 'changeAsked', token: 0, voters }, now), now);
  }

  #settle(now: Instant): readonly QuorumEffect[] {
    this.#trust.consider(now);
    this.#tickMs ??= this.#nextTick(now);
    const replica = this.replica;
    if (replica !== undefined) this.#calls.answerReads(replica);
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }

  #answer(id: number, result: Result<unknown>): void {
    this.#effects.push({ kind: 'answer', stream: NOW_STREAM, id, result });
  }
}
