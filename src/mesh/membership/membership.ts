/**
 * Who is alive: SWIM with Lifeguard's refinements, for a mesh whose links are connections.
 *
 * Intuition. No node can know that another is dead, only that it has not answered. So a node that gets no answer
 * asks others to try, says aloud whom it doubts, and gives the doubted time to speak up. Before all it doubts
 * itself: a node that was held up has missed answers that were there.
 *
 * Method.
 * - *Watching.* The linked members and oneself form a ring by node id. Each tells the three before it once a second that
 *   it is there, and probes any of the three after it that has been silent for a quarter longer. One further member every
 *   two seconds, in turn, is pinged to learn its round trip and of links that fail one way only. That is eight frames a
 *   second, in and out, however large the swarm. Random probes alone (SWIM) would leave a frozen member unnoticed after
 *   k periods in e^-k of the cases; heartbeats between all pairs would cost by the size of the swarm.
 * - *Probe.* A ping; after a third of the time-out a second one, and three others are asked to ping the member (they
 *   answer `nack` where they cannot, which tells a dead target from an ailing self); after two thirds a third one.
 * - *Suspicion* rests on evidence of one's own: a failed probe or a closed link. What others say (`suspect` or `dead`)
 *   starts a probe, and counts as confirmation once one's own evidence agrees. So no member can talk another to death.
 * - *Refutation.* Who hears that it is doubted raises its incarnation and tells all. A suspected member is pinged
 *   every 300 ms by everyone who suspects it, each ping saying so: it can answer the moment it wakes.
 * - *Death* comes 1.5 s (closed link) or 2 s (silence) after the first doubt where others confirm, and up to three times
 *   later where they could but do not.
 * - *Stalls.* A timer that is late, or the host's word (`lagged`), shows that this node did not run: all that was
 *   running against others is put off by as long.
 *
 * Detection with the defaults at the worst: a frozen member is suspected after 1.25 + 0.7 s and dead after 4 s, mostly after 3.3;
 * a killed one, whose links close, after 1.5 s. A pause of 2 s is survived, also where one frame in ten is lost.
 *
 * Limits. A member that lies can prolong the life of a third in the eyes of those that have no working link to it, can
 * make it refute (aloud at most once in `flushMs`), and can confirm what another suspects by evidence of its own; more it
 * cannot. Between two halves of a split network each declares the other dead. A member that neither this node nor any it
 * reaches has a link to dies by time-out alone.
 *
 * Sources: Das, Gupta, Motivala, "SWIM", DSN 2002; Dadgar, Phillips, Currey, "Lifeguard", DSN 2018.
 */
import type { Mark, Received } from '../../kernel/effects.ts';
import type { NodeId } from '../../kernel/ids.ts';
import { limits } from '../../kernel/limits.ts';
import type { Machine } from '../../kernel/machine.ts';
import type { Rng } from '../../kernel/rng.ts';
import { type Deadline, earliest, type Instant } from '../../kernel/time.ts';
import type { MemberState } from '../view.ts';
import { type MembershipConfig, membershipDefaults } from './config.ts';
import type { MemberInfo, MembershipEffect, MembershipEvent } from './events.ts';
import { doubtAbout, type Member, Members, mayPrompt } from './members.ts';
import { encodeMessage, MAX_INCARNATION, type Message, parseMessage, type Update } from './messages.ts';
import { News } from './news.ts';
import { Pings, type Relay } from './pings.ts';
import { putOff } from './stall.ts';
import { deathMs, LocalHealth } from './suspicion.ts';

export type * from './events.ts';

/** Confirmations beyond what a suspicion can use are not kept. */
const DOUBTERS = 8;

export class Membership implements Machine<MembershipEvent, MembershipEffect> {
  readonly #self: NodeId;
  readonly #config: MembershipConfig;
  readonly #rng: Rng;
  readonly #health: LocalHealth;
  readonly #members: Members;
  readonly #news: News;
  readonly #pings = new Pings();
  #effects: MembershipEffect[] = [];
  #deadline: Deadline | undefined;
  #incarnation: number;
  #ticks = 0;
  #tickMs: number;
  #syncMs: number;
  #accountedMs: number;
  #left = false;

  constructor(options: {
    readonly self: NodeId;
    readonly config?: Partial<MembershipConfig>;
    readonly rng: Rng;
    readonly now: Instant;
  }) {
    const { self, rng, now } = options;
    this.#self = self;
    this.#rng = rng;
    this.#config = { ...membershipDefaults, ...options.config };
    this.#health = new LocalHealth(this.#config.worstHealth);
    this.#members = new Members(self, rng);
    this.#news = new News(this.#config.flushMs);
    // Later than any start before it: what is still told of an earlier run is stale from the first.
    this.#incarnation = Math.min(MAX_INCARNATION / 2, Math.max(1, Math.floor(now.wallMs)));
    this.#accountedMs = now.monoMs;
    this.#tickMs = now.monoMs + this.#jittered(this.#config.watchMs);
    this.#syncMs = now.monoMs + this.#jittered(this.#config.syncMs);
  }

  get incarnation(): number {
    return this.#incarnation;
  }

  /** 0 is well; at most `worstHealth`. */
  get localHealth(): number {
    return this.#health.score;
  }

  /** All others, sorted by id. */
  members(): readonly MemberInfo[] {
    return this.#members.infos();
  }

  stateOf(member: NodeId): MemberState | undefined {
    return this.#members.get(member)?.state;
  }

  handle(event: MembershipEvent, now: Instant): readonly MembershipEffect[] {
    if (this.#left) return [];
    this.#noticeStall(now);
    switch (event.kind) {
      case 'peerUp':
        this.#handlePeerUp(event.peer, now);
        break;
      case 'peerDown':
        this.#handlePeerDown(event.peer, now);
        break;
      case 'received':
        this.#handleReceived(event, now);
        break;
      case 'lagged':
        this.#accountStall(event.ms, now);
        break;
    }
    return this.#takeEffects();
  }

  expire(now: Instant): readonly MembershipEffect[] {
    if (this.#left) return [];
    this.#noticeStall(now);
    for (const member of this.#members.values()) {
      this.#stepProbe(member, now);
      this.#checkSuspicion(member, now);
    }
    for (const { requester, seq, target } of this.#pings.takeOverdueRelays(now)) {
      this.#send([requester], { kind: 'nack', ...this.#heading(), seq, target });
    }
    for (const [member, silentMs] of this.#silences()) if (silentMs <= now.monoMs) this.#probe(member, now);
    if (this.#tickMs - this.#config.watchEarlyMs <= now.monoMs) this.#tick(now);
    if (this.#syncMs <= now.monoMs) this.#sync(now);
    if (this.#news.dueMs !== undefined && this.#news.dueMs <= now.monoMs) this.#tellUrgent(now);
    return this.#takeEffects();
  }

  deadline(): Deadline | undefined {
    if (this.#left) return undefined;
    this.#deadline ??= this.#nearestDeadline();
    return this.#deadline;
  }

  /** Tells all that this node goes for good; afterwards the machine is silent. */
  leave(_now: Instant): readonly MembershipEffect[] {
    if (this.#left) return [];
    this.#send(this.#members.linked(), { kind: 'left', ...this.#heading() });
    this.#left = true;
    return this.#takeEffects();
  }

  #nearestDeadline(): Deadline | undefined {
    const running: Deadline[] = [
      { atMs: this.#tickMs, reason: 'membership: heartbeat', earlyMs: this.#config.watchEarlyMs },
      { atMs: this.#syncMs, reason: 'membership: sync' },
    ];
    const newsMs = this.#news.dueMs;
    if (newsMs !== undefined) running.push({ atMs: newsMs, reason: 'membership: tell news' });
    for (const { probe, suspicion } of this.#members.values()) {
      if (probe !== undefined) running.push({ atMs: probe.nextMs, reason: 'membership: probe unanswered' });
      if (suspicion === undefined) continue;
      const diesMs = deathMs(suspicion, this.#members.alive, this.#config);
      running.push({ atMs: Math.min(suspicion.nextCheckMs, diesMs), reason: 'membership: suspicion' });
    }
    for (const [, silentMs] of this.#silences()) {
      running.push({ atMs: silentMs, reason: 'membership: watched member silent' });
    }
    for (const relay of this.#pings.relays()) {
      running.push({ atMs: relay.nackMs, reason: 'membership: relayed probe' });
    }
    return earliest(running);
  }

  // Events

  #handlePeerUp(peer: NodeId, now: Instant): void {
    if (peer === this.#self) return;
    const member = this.#members.get(peer) ?? this.#admit(peer, 0, true, now);
    if (member === undefined) return;
    const { state, incarnation } = member;
    this.#members.setLinked(peer, true);
    member.heardMs = now.monoMs;
    this.#setAlive(member, now);
    // A peer that was thought dead must hear of it, so that it refutes what others still believe.
    this.#tellAll(peer, state === 'alive' ? [] : [{ member: peer, incarnation, state }]);
    this.#ping(member, now);
  }

  #handlePeerDown(peer: NodeId, now: Instant): void {
    const member = this.#members.get(peer);
    if (member === undefined) return;
    this.#members.setLinked(peer, false);
    member.rttMs = undefined;
    this.#suspect(member, true, now);
  }

  #handleReceived(event: Received, now: Instant): void {
    const member = this.#members.get(event.from);
    if (member === undefined || !member.linked) return;
    const message = parseMessage(event.bytes);
    if (message === undefined) {
      this.#effects.push({ kind: 'penalise', peer: event.from, reason: 'malformed membership frame' });
      this.#mark('warn', 'membership.malformed', { peer: event.from, bytes: event.bytes.length });
      return;
    }
    if (message === 'later') return;
    if (message.kind === 'left') {
      member.incarnation = Math.max(member.incarnation, message.incarnation);
      member.left = true;
      this.#declareDead(member, 'left', now);
      return;
    }
    this.#hear(member, message.incarnation, now);
    for (const update of message.updates) this.#apply(update, member, now);
    this.#handleMessage(member, message, now);
  }

  #handleMessage(from: Member, message: Message, now: Instant): void {
    switch (message.kind) {
      case 'ping':
        this.#send([from], { kind: 'ack', ...this.#heading(from), seq: message.seq });
        break;
      case 'ack':
        this.#handleAck(from, message.seq, now);
        break;
      case 'pingRequest':
        this.#relay(from, message.target, message.seq, now);
        break;
      case 'relayedAck':
        this.#handleRelayedAck(from, message, now);
        break;
      case 'nack': {
        const probe = this.#members.get(message.target)?.probe;
        const asked = this.#pings.close(message.seq, from.id, message.target);
        if (asked !== undefined && probe !== undefined) probe.nacks++;
        break;
      }
      default:
    }
  }

  #handleAck(from: Member, seq: number, now: Instant): void {
    const sent = this.#pings.close(seq, from.id, from.id);
    if (sent === undefined) return;
    from.rttMs = now.monoMs - sent.sentMs;
    if (from.probe !== undefined) this.#health.improve();
    from.probe = undefined;
    const relay = this.#pings.takeRelay(seq);
    if (relay === undefined) return;
    const { requester, target } = relay;
    const targetIncarnation = from.incarnation;
    this.#send([requester], {
      kind: 'relayedAck',
      ...this.#heading(),
      seq: relay.seq,
      target,
      targetIncarnation,
    });
  }

  #handleRelayedAck(from: Member, message: Message & { kind: 'relayedAck' }, now: Instant): void {
    const asked = this.#pings.close(message.seq, from.id, message.target);
    const target = this.#members.get(message.target);
    if (asked === undefined || target === undefined || target.state === 'dead') return;
    if (!target.linked) target.incarnation = Math.max(target.incarnation, message.targetIncarnation);
    if (target.probe !== undefined) this.#health.improve();
    this.#setAlive(target, now);
  }

  // Probing

  #tick(now: Instant): void {
    // Mostly it will be early, along with what others send: once in `watchMs` on average.
    this.#tickMs = now.monoMs + this.#jittered(this.#config.watchMs) + this.#config.watchEarlyMs / 4;
    const inTurn = this.#ticks++ % 2 === 0 ? this.#members.nextInTurn() : undefined;
    if (inTurn !== undefined) this.#probe(inTurn, now);
    // All at once: a node that sleeps most of the time pays more for a wake than for a frame.
    for (const watcher of this.#members.watchers(this.#config.watchers))
      if (watcher !== inTurn) this.#send([watcher], { kind: 'gossip', ...this.#heading(watcher) });
    this.#pings.forgetOld(now);
  }

  #silences(): Iterable<readonly [member: Member, silentMs: number]> {
    return this.#members.silences(this.#config.watchers, 1.25 * this.#config.watchMs);
  }

  #probe(member: Member, now: Instant): void {
    if (member.probe !== undefined || member.suspicion !== undefined) return;
    if (member.state === 'dead') {
      // Frozen rather than gone: should it wake, this tells it that it must refute.
      if (member.linked) this.#ping(member, now);
      return;
    }
    const { probeTimeoutMs, indirectProbes } = this.#config;
    const timeoutMs = Math.max(probeTimeoutMs, 3 * (member.rttMs ?? 0) + 200) * this.#health.factor;
    const stepMs = timeoutMs / 3;
    const asked = member.linked ? 0 : this.#askOthers(member, indirectProbes, now);
    const startMs = now.monoMs;
    member.probedMs = startMs;
    member.probe = { stage: 0, startMs, nextMs: startMs + stepMs, stepMs, asked, nacks: 0 };
    if (member.linked) this.#ping(member, now);
  }

  #stepProbe(member: Member, now: Instant): void {
    const probe = member.probe;
    if (probe === undefined || probe.nextMs > now.monoMs) return;
    probe.stage++;
    if (probe.stage < 3) {
      probe.nextMs = now.monoMs + probe.stepMs;
      if (member.linked) this.#ping(member, now);
      if (probe.stage === 1) probe.asked += this.#askOthers(member, this.#config.indirectProbes, now);
      return;
    }
    member.probe = undefined;
    // Its own frames arrive, so it lives: only the way there is cut.
    if (member.heardMs >= probe.startMs) return;
    // Those asked answer even about a dead target; where they do not either, the trouble may be here.
    if (probe.asked === 0 ? member.linked : probe.nacks < probe.asked) this.#health.worsen();
    this.#suspect(member, false, now);
  }

  #ping(member: Member, now: Instant, relay?: Relay): void {
    const seq = this.#pings.open(member.id, member.id, now, relay);
    this.#send([member], { kind: 'ping', ...this.#heading(member), seq });
  }

  /** How many were asked. */
  #askOthers(target: Member, count: number, now: Instant): number {
    const able = this.#members
      .linked()
      .filter((member) => member !== target && member.state === 'alive' && member.probe === undefined);
    const chosen = this.#rng.shuffled(able).slice(0, count);
    const updates = doubtAbout(target);
    for (const helper of chosen) {
      const seq = this.#pings.open(helper.id, target.id, now);
      const incarnation = this.#incarnation;
      this.#send([helper], { kind: 'pingRequest', incarnation, updates, seq, target: target.id });
    }
    return chosen.length;
  }

  #relay(requester: Member, targetId: NodeId, seq: number, now: Instant): void {
    const target = this.#members.get(targetId);
    if (targetId === requester.id || target?.linked !== true || !this.#pings.mayRelayFor(requester.id)) {
      this.#send([requester], { kind: 'nack', ...this.#heading(), seq, target: targetId });
      return;
    }
    const waitMs = Math.max(this.#config.probeTimeoutMs / 2 - 50, 2 * (target.rttMs ?? 0) + 100);
    this.#ping(target, now, { requester: requester.id, seq, target: targetId, nackMs: now.monoMs + waitMs });
  }

  // Suspicion

  /** This node's own evidence against a member. */
  #suspect(member: Member, closed: boolean, now: Instant): void {
    if (member.state === 'dead') return;
    if (member.suspicion !== undefined) {
      member.suspicion.closed ||= closed;
      return;
    }
    member.suspicion = {
      startMs: Math.min(now.monoMs, ...member.doubters.values()),
      evidenceMs: now.monoMs,
      closed,
      confirmers: new Set(member.doubters.keys()),
      nextCheckMs: now.monoMs,
    };
    member.doubters.clear();
    member.probe = undefined;
    this.#change(member, 'suspect', now);
    const update: Update = { member: member.id, incarnation: member.incarnation, state: 'suspect' };
    this.#news.add(update);
    // Where more than enough have said it, one voice more need not reach everyone at once.
    if (member.suspicion.confirmers.size <= this.#config.confirmations + 1) this.#news.addUrgent(update, now);
    this.#checkSuspicion(member, now);
  }

  #checkSuspicion(member: Member, now: Instant): void {
    const suspicion = member.suspicion;
    if (suspicion === undefined) return;
    if (deathMs(suspicion, this.#members.alive, this.#config) <= now.monoMs) {
      this.#declareDead(member, suspicion.closed ? 'link closed' : 'silent', now);
      return;
    }
    if (suspicion.nextCheckMs > now.monoMs) return;
    const isFirst = suspicion.evidenceMs === now.monoMs;
    suspicion.nextCheckMs = now.monoMs + this.#config.checkMs;
    if (member.linked) this.#ping(member, now);
    this.#askOthers(member, isFirst ? this.#config.indirectProbes : 1, now);
  }

  /** A frame came from the member itself: it lives, and its word about its incarnation is final. */
  #hear(member: Member, incarnation: number, now: Instant): void {
    member.heardMs = now.monoMs;
    if (member.state === 'dead' && incarnation <= member.incarnation) {
      // It does not know yet that it has to refute; after its goodbye this is but a late frame.
      const updates = doubtAbout(member);
      if (updates.length > 0) {
        this.#send([member], { kind: 'gossip', incarnation: this.#incarnation, updates });
      }
      return;
    }
    const refutes = incarnation > member.incarnation && member.state !== 'alive';
    member.incarnation = incarnation;
    member.doubters.clear();
    if (member.state !== 'alive') this.#setAlive(member, now);
    if (refutes) this.#news.add({ member: member.id, incarnation, state: 'alive' });
  }

  /** What `from` says about a third. */
  #apply(update: Update, from: Member, now: Instant): void {
    if (update.member === from.id) return;
    if (update.member === this.#self) {
      this.#refute(update, now);
      return;
    }
    const member = this.#members.get(update.member);
    if (member === undefined) {
      if (update.state !== 'dead') this.#admit(update.member, update.incarnation, false, now);
      return;
    }
    if (update.state === 'alive') {
      if (update.incarnation <= member.incarnation) return;
      // Of a linked member only its own frames move the incarnation: a forged one would outlive its refutations.
      if (!member.linked) member.incarnation = update.incarnation;
      if (member.state === 'alive') return;
      this.#setAlive(member, now);
      this.#news.add(update);
      return;
    }
    if (update.incarnation < member.incarnation || member.state === 'dead') return;
    if (!member.linked) member.incarnation = update.incarnation;
    this.#doubt(member, from, now);
  }

  #doubt(member: Member, by: Member, now: Instant): void {
    if (member.suspicion !== undefined) {
      if (member.suspicion.confirmers.size < DOUBTERS) member.suspicion.confirmers.add(by.id);
      return;
    }
    if (member.doubters.size < DOUBTERS && !member.doubters.has(by.id)) {
      member.doubters.set(by.id, now.monoMs);
      // Without a link of its own this node is one in the chain that carries the rumour on.
      const { id, incarnation, linked } = member;
      if (!linked) this.#news.add({ member: id, incarnation, state: 'suspect' });
    }
    if (member.probe === undefined && mayPrompt(by, now)) this.#probe(member, now);
  }

  #refute(update: Update, now: Instant): void {
    if (update.incarnation < this.#incarnation) return;
    if (update.state === 'alive' && update.incarnation === this.#incarnation) return;
    this.#incarnation = Math.min(MAX_INCARNATION, update.incarnation + 1);
    if (update.state !== 'alive') {
      this.#health.worsen();
      this.#mark('info', 'membership.refuted', { incarnation: this.#incarnation });
    }
    this.#news.addUrgent({ member: this.#self, incarnation: this.#incarnation, state: 'alive' }, now);
  }

  // Changes of state

  #admit(id: NodeId, incarnation: number, linked: boolean, now: Instant): Member | undefined {
    const member = this.#members.add(id, incarnation, linked, now);
    if (member === undefined) {
      this.#mark('warn', 'membership.full', { members: this.#members.size });
      return undefined;
    }
    this.#effects.push({ kind: 'memberChanged', member: id, state: 'alive' });
    this.#news.add({ member: id, incarnation, state: 'alive' });
    return member;
  }

  #setAlive(member: Member, now: Instant): void {
    member.suspicion = undefined;
    member.probe = undefined;
    member.left = false;
    member.doubters.clear();
    if (member.state === 'alive') return;
    this.#news.drop(member.id);
    this.#change(member, 'alive', now);
  }

  #declareDead(member: Member, why: string, now: Instant): void {
    if (member.state === 'dead') return;
    member.suspicion = undefined;
    member.probe = undefined;
    member.doubters.clear();
    this.#change(member, 'dead', now);
    this.#mark('info', 'membership.dead', { member: member.id, why });
    const update: Update = { member: member.id, incarnation: member.incarnation, state: 'dead' };
    this.#news.add(update);
    if (why !== 'left') this.#news.addUrgent(update, now);
    this.#forgetDead(now);
  }

  #change(member: Member, state: MemberState, now: Instant): void {
    const was = member.state;
    this.#members.setState(member.id, state, now);
    this.#effects.push({ kind: 'memberChanged', member: member.id, state, was });
  }

  #forgetDead(now: Instant): void {
    for (const id of this.#members.forgetDead(this.#config.forgetMs, now)) this.#news.drop(id);
  }

  // Telling

  #heading(to?: Member): { readonly incarnation: number; readonly updates: readonly Update[] } {
    const about = to === undefined ? [] : doubtAbout(to);
    const rumours = this.#news.take(this.#members.size + 1).filter((update) => update.member !== to?.id);
    return { incarnation: this.#incarnation, updates: [...about, ...rumours] };
  }

  #tellUrgent(now: Instant): void {
    const updates = this.#news.takeUrgent(now);
    const { eagerPeers, eagerFanout } = this.#config;
    const linked = this.#members.linked();
    const to = linked.length <= eagerPeers ? linked : this.#rng.shuffled(linked).slice(0, eagerFanout);
    if (updates.length > 0) this.#send(to, { kind: 'gossip', incarnation: this.#incarnation, updates });
  }

  #sync(now: Instant): void {
    this.#syncMs = now.monoMs + this.#jittered(this.#config.syncMs);
    this.#forgetDead(now);
    const linked = this.#members.linked();
    if (linked.length > 0) this.#tellAll(this.#rng.pick(linked).id, []);
  }

  /** The whole table, after `first`. */
  #tellAll(peer: NodeId, first: readonly Update[]): void {
    const updates = [...first];
    for (const { id, incarnation, state, left } of this.#members.values()) {
      if (id !== peer && !left) updates.push({ member: id, incarnation, state });
    }
    for (let at = 0; at < updates.length; at += limits.membershipUpdates) {
      const part = updates.slice(at, at + limits.membershipUpdates);
      this.#send([peer], { kind: 'gossip', incarnation: this.#incarnation, updates: part });
    }
  }

  #send(to: readonly (NodeId | Member)[], message: Message): void {
    if (to.length === 0) return;
    const ids = to.map((peer) => (typeof peer === 'string' ? peer : peer.id));
    const bytes = encodeMessage(message);
    this.#effects.push({ kind: 'send', stream: 'membership', to: ids, channel: 'mesh', bytes });
  }

  // Own stalls

  #noticeStall(now: Instant): void {
    const due = this.deadline();
    if (due !== undefined) this.#accountStall(now.monoMs - due.atMs, now);
    this.#deadline = undefined;
  }

  /** Each stretch of time in which this node did not run counts once, whoever noticed it. */
  #accountStall(ms: number, now: Instant): void {
    const lostMs = Math.min(ms, now.monoMs - this.#accountedMs);
    const { stallMs, stallGraceMs } = this.#config;
    if (!(lostMs > stallMs)) return;
    this.#accountedMs = now.monoMs;
    this.#health.worsen();
    this.#mark('debug', 'membership.stalled', { ms: Math.round(lostMs) });
    putOff(this.#members.values(), this.#pings.relays(), lostMs, stallGraceMs, now);
  }

  // Small things

  #takeEffects(): readonly MembershipEffect[] {
    this.#deadline = undefined;
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }

  #mark(level: Mark['level'], name: string, fields: Readonly<Record<string, unknown>>): void {
    this.#effects.push({ kind: 'mark', level, name, fields });
  }

  #jittered(ms: number): number {
    return ms * (0.9 + 0.2 * this.#rng.float());
  }
}
