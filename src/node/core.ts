import { Agents, type AgentsEffect, type AgentsEvent } from '../agents/agents.ts';
import { Boards, type BoardsConfig, type BoardsEffect, type BoardsEvent } from '../blackboard/boards.ts';
import { type BudgetDefaults, Budgets } from '../budget/budgets.ts';
import type { PublishRow } from '../budget/ledger-messages.ts';
import type { BudgetEffect, BudgetEvent } from '../budget/messages.ts';
import type { FreshNumber } from '../budget/names.ts';
import type { PriceTable } from '../budget/price.ts';
import type { Channel, DiskFailed, DiskRecovered, PeerDown, Received } from '../kernel/effects.ts';
import type { Incarnation, NodeId, SwarmId } from '../kernel/ids.ts';
import type { Machine } from '../kernel/machine.ts';
import type { Cryptography, Signer, WireEvent } from '../kernel/ports.ts';
import type { Rng } from '../kernel/rng.ts';
import type { Deadline, Instant } from '../kernel/time.ts';
import { Discovery, type DiscoveryEffect, type DiscoveryEvent } from '../mesh/discovery/discovery.ts';
import { Links, type LinksEffect, type LinkUp } from '../mesh/links/links.ts';
import { type MemberChanged, Membership, type MembershipEffect } from '../mesh/membership/membership.ts';
import type { QuorumConfig } from '../quorum/config.ts';
import type { QuorumEffect, QuorumEvent } from '../quorum/messages.ts';
import { Quorum } from '../quorum/quorum.ts';
import { cargoOf, withCargo } from '../replication/cargo.ts';
import type { LanesBody, NodeBody, SignedRecord } from '../replication/record.ts';
import { Records, type RecordsEffect } from '../replication/records.ts';
import type { Lagged } from './executor.ts';
import { byReader } from './journal-readers.ts';
import { type BootNonce, incarnationOf, LaneOwners } from './lane-owners.ts';
import { MachineDeadlines } from './machine-deadlines.ts';
import { MemberCertificates } from './member-certificates.ts';

/** What a host hands to the node. */
export type NodeEvent =
  | WireEvent
  | Extract<DiscoveryEvent, { kind: 'claimed' | 'withdrawn' }>
  | Extract<BoardsEvent, { kind: 'requested' | 'cancelled' | 'yjsUpdate' }>
  | { readonly kind: 'agentRequested'; readonly event: Extract<AgentsEvent, { kind: 'requested' }> }
  | Extract<QuorumEvent, { kind: 'quorumRequested' | 'quorumCancelled' | 'diskReached' }>
  | Extract<
      BudgetEvent,
      { kind: 'budgetRequested' | 'budgetCancelled' | `store${'Answered' | 'Read' | 'Proved' | 'Changed'}` }
    >
  | { readonly kind: 'listening'; readonly addresses: readonly string[] }
  /** The own certificate was issued anew. */
  | { readonly kind: 'renewed'; readonly certificate: Uint8Array }
  | DiskFailed
  | DiskRecovered
  | Lagged;

type InnerEffect =
  | LinksEffect
  | DiscoveryEffect
  | MembershipEffect
  | RecordsEffect
  | BoardsEffect
  | QuorumEffect
  | AgentsEffect
  | BudgetEffect
  | DescriptorChanged;

/** What a node says of itself has changed: name, roles, addresses. */
interface DescriptorChanged {
  readonly kind: 'descriptorChanged';
  readonly node: NodeId;
}
const BUDGET_STREAM = 'budget';
const NOTHING: readonly NodeEffect[] = [];

type InnerMachine = Pick<Machine<never, InnerEffect>, 'expire' | 'deadline'>;
type InnerFact =
  | 'peerUp'
  | 'peerDown'
  | 'penalise'
  | 'recordChanged'
  | 'ownReturned'
  | 'publishLanes'
  | 'publishRow';

/** What a host does for the node: all that its machines say which is not a fact for another machine. */
export type NodeEffect = Exclude<InnerEffect, { kind: InnerFact }>;

/** What the budgets of a node need. */
interface NodeBudgets {
  /** Tells the place of the data from a copy of it. */
  readonly place: string;
  /** 53 random bits that were never used before; never 0. */
  readonly fresh: () => FreshNumber;
  /** The same, for the ids of requests alone. */
  readonly drawn?: () => FreshNumber;
  readonly prices: PriceTable;
  readonly defaults: BudgetDefaults;
  readonly isOrchestrator: boolean;
}

interface NodeCoreOptions {
  readonly self: NodeId;
  readonly signer: Signer;
  readonly cryptography: Cryptography;
  readonly swarm: { readonly id: SwarmId; readonly rootPublicKey: Uint8Array };
  /** Own membership certificate. */
  readonly certificate: Uint8Array;
  /** Binds this run's incarnation to the node; 8 random bytes. */
  readonly nonce: BootNonce;
  readonly descriptor: Omit<NodeBody, 'addresses' | 'startedAt' | 'certificate'>;
  readonly boards: BoardsConfig;
  /** `undefined`: this node has no part in the embedded quorum store. */
  readonly quorum: QuorumConfig | undefined;
  /** `undefined`: this node keeps no account, and knows of no budgets. */
  readonly budgets?: NodeBudgets;
  /** Some of the journal was damaged and set aside. */
  readonly isJournalSuspect: boolean;
  /** Records of the journal, in the order written. */
  readonly journal: readonly Uint8Array[];
  readonly rng: Rng;
  readonly now: Instant;
}

/**
 * The node: one machine composed of all the others.
 *
 * It routes frames of admitted peers by their channel, and turns what one machine says into facts for the others:
 * a verified greeting opens the link for all; a signed record tells who owns a lane, where a node can be found
 * and which agents it has; a death empties its agents. Hosts see only orders.
 */
export class NodeCore implements Machine<NodeEvent, NodeEffect> {
  readonly self: NodeId;
  readonly incarnation: Incarnation;
  readonly startedAt: number;
  readonly links: Links;
  readonly discovery: Discovery;
  readonly membership: Membership;
  readonly records: Records;
  readonly boards: Boards;
  readonly quorum: Quorum | undefined;
  readonly agents: Agents;
  readonly budgets: Budgets | undefined;
  /** All of the above, in the order in which they are asked. */
  readonly #deadlines: MachineDeadlines<InnerMachine>;
  readonly #options: NodeCoreOptions;
  readonly #owners: LaneOwners;
  readonly #certificates: MemberCertificates;
  #certificate: Uint8Array;
  #addresses: readonly string[] = [];
  /** Rows that wait for the disk, by key: what they tell must not be forgotten after others have heard it. */
  readonly #rows = new Map<string, WaitingRow>();
  #rowCount = 0;
  /** What loading the journal called for, before there was a host. */
  #pending: readonly NodeEffect[] = [];

  constructor(options: NodeCoreOptions) {
    const { self, cryptography, signer, rng, now } = options;
    this.#options = options;
    this.self = self;
    this.startedAt = now.wallMs;
    this.incarnation = incarnationOf(cryptography, self, options.nonce);
    this.#owners = new LaneOwners(cryptography);
    this.#certificates = new MemberCertificates(cryptography, options.swarm.rootPublicKey);
    this.#certificate = options.certificate;
    this.#certificates.learn(self, options.certificate);
    this.links = new Links({
      self,
      cryptography,
      config: {
        rootPublicKey: options.swarm.rootPublicKey,
        certificate: options.certificate,
        software: options.descriptor.version,
        incarnation: this.incarnation,
      },
      rng: rng.fork(),
      now,
    });
    this.discovery = new Discovery({ self, rng: rng.fork(), now });
    this.membership = new Membership({ self, rng: rng.fork(), now });
    this.records = new Records({
      self,
      signer,
      cryptography,
      admits: (record) => this.#certificates.admits(record),
      rides: ['budget'],
      rng: rng.fork(),
      now,
    });
    this.boards = new Boards({
      self,
      incarnation: this.incarnation,
      config: options.boards,
      lanes: this.#owners,
      membership: { isUp: (node) => this.links.facts(node) !== undefined },
      signer,
      cryptography,
      rng: rng.fork(),
      now,
    });
    this.quorum = this.#makeQuorum(options);
    this.agents = new Agents({
      self,
      records: this.records,
      isAlive: (node) => node === self || this.membership.stateOf(node) !== 'dead',
      nameOf: (node) => this.nameOf(node),
    });
    this.budgets = this.#makeBudgets(options);
    this.#deadlines = new MachineDeadlines<InnerMachine>([
      this.links,
      this.discovery,
      this.membership,
      this.records,
      this.boards,
      this.agents,
      ...(this.quorum === undefined ? [] : [this.quorum]),
      ...(this.budgets === undefined ? [] : [this.budgets]),
    ]);
    this.#load(now);
  }

  #makeQuorum({ self, quorum, cryptography, nonce, rng, now }: NodeCoreOptions): Quorum | undefined {
    if (quorum === undefined) return undefined;
    return new Quorum({
      self,
      config: quorum,
      cryptography,
      isDoubtful: (node) => this.membership.stateOf(node) !== 'alive',
      nonce,
      rng: rng.fork(),
      now,
    });
  }

  #makeBudgets({ self, budgets, rng, now }: NodeCoreOptions): Budgets | undefined {
    if (budgets === undefined) return undefined;
    return new Budgets({
      ...budgets,
      self,
      nameOf: (node) => this.nameOf(node),
      rng: rng.fork(),
      now,
    });
  }

  /** The machine name of a node, as far as this one knows. */
  nameOf(node: NodeId): string {
    if (node === this.self) return this.#options.descriptor.name;
    return (this.records.body(node, 'node', '') as NodeBody | undefined)?.name ?? node.slice(-8);
  }

  handle(event: NodeEvent, now: Instant): readonly NodeEffect[] {
    const pending = this.#pending;
    this.#pending = [];
    const effects = this.#withCargo(this.#route(this.#withEarly(this.#dispatch(event, now), now), now), now);
    return pending.length === 0 ? effects : [...pending, ...effects];
  }

  /** Adds what can be done along with what woke the node. */
  #withEarly(effects: readonly InnerEffect[], now: Instant): readonly InnerEffect[] {
    if (this.#deadlines.earlyMs > now.monoMs) return effects;
    const early = [...this.#deadlines.early(now)];
    return [...effects, ...early.flatMap((machine) => this.#at(machine).expire(now))];
  }

  expire(now: Instant): readonly NodeEffect[] {
    const effects: InnerEffect[] = [];
    for (const machine of this.#deadlines.due(now)) effects.push(...this.#at(machine).expire(now));
    return this.#withCargo(this.#route(effects, now), now);
  }

  deadline(): Deadline | undefined {
    return this.#deadlines.nearest();
  }

  /** For every call of a method that may move the machine's deadline. */
  #at<M extends InnerMachine | undefined>(machine: M): M {
    const touched: InnerMachine | undefined = machine;
    if (touched !== undefined) this.#deadlines.touched(touched);
    // They publish what they register by themselves.
    if (touched === this.agents) this.#deadlines.touched(this.records);
    return machine;
  }

  /** Live bytes of the boards' entries: most of what a large node holds. */
  get liveBytes(): number {
    return this.boards.entryBytes;
  }

  /** The whole state as journal records, a bounded piece at a time; the state may change between two pieces. */
  *checkpoint(): Generator<Uint8Array> {
    yield* this.records.checkpoint();
    yield* this.boards.checkpoint();
    if (this.quorum !== undefined) yield* this.quorum.checkpoint();
    if (this.budgets !== undefined) yield* this.budgets.checkpoint();
  }

  /** Has another lead the quorum store where this node does; under way until `quorum.isHandingOver` is false. */
  handOver(now: Instant): readonly NodeEffect[] {
    return this.#route(this.#at(this.quorum)?.handOver(now) ?? [], now);
  }

  /** Tells the others that this node goes, so that they need not find out. */
  leave(now: Instant): readonly NodeEffect[] {
    const effects: InnerEffect[] = [
      ...(this.#at(this.budgets)?.stop(now) ?? []),
      ...this.#at(this.membership).leave(now),
    ];
    return this.#withCargo(this.#route(effects, now), now);
  }

  #load(now: Instant): void {
    const journal = byReader(this.#options.journal);
    const effects: InnerEffect[] = [...this.#at(this.records).load(journal.records, now)];
    for (const { owner, body } of this.records.ofKind('node')) {
      const { certificate } = body as Partial<NodeBody>;
      if (certificate instanceof Uint8Array) this.#certificates.learn(owner, certificate);
    }
    const lanes = this.records.ofKind('lanes');
    for (const { owner, key, body } of lanes) this.#owners.learn(owner, key, body);
    this.#at(this.agents).load(now);
    this.#at(this.boards).load(journal.boards, now);
    this.#at(this.quorum)?.load(journal.quorum, this.#options.isJournalSuspect, now);
    if (this.budgets !== undefined) effects.push(...this.#loadBudgets(this.budgets, journal.budgets, now));
    for (const owner of new Set(lanes.map((record) => record.owner))) {
      effects.push(...this.#at(this.boards).handle({ kind: 'lanesChanged', owner }, now));
    }
    this.#pending = this.#route(effects, now);
  }

  /** The account first: rows that were heard are judged by what it knows of itself. */
  #loadBudgets(budgets: Budgets, journal: readonly Uint8Array[], now: Instant): readonly InnerEffect[] {
    const effects: InnerEffect[] = [...this.#at(budgets).load(journal, now, this.#options.isJournalSuspect)];
    for (const { owner, key, body } of this.records.ofKind('budget')) {
      const version = this.records.sequenceOf(owner, 'budget', key);
      effects.push(
        ...this.#at(budgets).handle({ kind: 'rowHeard', owner, key, version, body, isKept: true }, now),
      );
    }
    return effects;
  }

  #dispatch(event: NodeEvent, now: Instant): readonly InnerEffect[] {
    switch (event.kind) {
      case 'frame':
        return this.#frame(event, now);
      case 'connected':
      case 'disconnected':
      case 'dialFailed':
        return [...this.#at(this.links).handle(event, now), ...this.#at(this.discovery).handle(event, now)];
      case 'dropped':
        return this.#dropped(event.peer, event.channel, now);
      case 'claimed':
      case 'withdrawn':
        return this.#at(this.discovery).handle(event, now);
      case 'requested':
      case 'cancelled':
      case 'yjsUpdate':
        return this.#at(this.boards).handle(event, now);
      case 'agentRequested':
        return this.#at(this.agents).handle(event.event, now);
      case 'listening':
        return [
          ...this.#at(this.links).handle(event, now),
          ...this.#at(this.discovery).handle(event, now),
          ...this.#publishDescriptor(event.addresses, now),
        ];
      case 'renewed':
        return this.#renewed(event.certificate, now);
      case 'quorumRequested':
      case 'quorumCancelled':
        return this.#toQuorum(event, now);
      case 'diskReached':
        return event.stream === BUDGET_STREAM
          ? this.#publishRows(event.sequence, now)
          : this.#toQuorum(event, now);
      case 'budgetRequested':
      case 'budgetCancelled':
      case 'storeAnswered':
      case 'storeRead':
      case 'storeProved':
      case 'storeChanged':
        return this.#toBudgets(event, now);
      case 'diskFailed':
      case 'diskRecovered':
        // What waited for the disk is told anew once it works again.
        this.#rows.clear();
        return [
          ...this.#at(this.boards).handle(event, now),
          ...this.#toQuorum(event, now),
          ...this.#toBudgets(event, now),
        ];
      case 'lagged':
        return this.#at(this.membership).handle(event, now);
    }
  }

  #frame(event: Extract<WireEvent, { kind: 'frame' }>, now: Instant): readonly InnerEffect[] {
    const received = { kind: 'received', from: event.from, bytes: event.bytes } as const;
    switch (event.channel) {
      case 'hello':
        return this.#at(this.links).handle(event, now);
      case 'mesh':
        return this.#mesh(received, now);
      case 'records':
        return this.#at(this.records).handle(received, now);
      case 'board':
        return this.#at(this.boards).handle(received, now);
      case 'quorum':
        return this.#toQuorum(received, now);
      case 'call':
        return this.budgets === undefined
          ? [{ kind: 'penalise', peer: event.from, reason: 'nothing is served on the channel call' }]
          : this.#at(this.budgets).handle(received, now);
    }
  }

  #mesh({ from, bytes }: Received, now: Instant): readonly InnerEffect[] {
    const cargo = cargoOf(bytes);
    const effects = this.#at(this.membership).handle({ kind: 'received', from, bytes }, now);
    if (cargo === undefined) return effects;
    return [...effects, ...this.#at(this.records).handle({ kind: 'received', from, bytes: cargo }, now)];
  }

  /** What goes to a neighbour anyway takes along what it is owed. */
  #withCargo(effects: readonly NodeEffect[], now: Instant): readonly NodeEffect[] {
    if (!this.records.hasCargo) return effects;
    return withCargo(effects, (peer) => this.#at(this.records).cargoFor(peer, now));
  }

  #toBudgets(event: BudgetEvent, now: Instant): readonly InnerEffect[] {
    return this.#at(this.budgets)?.handle(event, now) ?? [];
  }

  /** A node that uses another engine has no part in the members' embedded store, and says nothing there. */
  #toQuorum(event: QuorumEvent, now: Instant): readonly InnerEffect[] {
    return this.#at(this.quorum)?.handle(event, now) ?? [];
  }

  #dropped(peer: NodeId, channel: Channel, now: Instant): readonly InnerEffect[] {
    const fact = { kind: 'dropped', peer } as const;
    if (channel === 'records' || channel === 'mesh') return this.#at(this.records).handle(fact, now);
    if (channel === 'board') return this.#at(this.boards).handle(fact, now);
    return [];
  }

  /** Effects that are facts for other machines are handed on, and what these say in turn takes their place. */
  #route(effects: readonly InnerEffect[], now: Instant): readonly NodeEffect[] {
    if (effects.length === 0) return NOTHING;
    const orders: NodeEffect[] = [];
    for (const effect of effects) {
      switch (effect.kind) {
        case 'peerUp':
          orders.push(...this.#route(this.#peerUp(effect as LinkUp, now), now));
          break;
        case 'peerDown':
          orders.push(...this.#route(this.#peerDown(effect, now), now));
          break;
        case 'penalise':
          orders.push(
            ...this.#route(this.#at(this.links).handle({ ...effect, kind: 'penalised' }, now), now),
          );
          break;
        case 'recordChanged':
          orders.push(...this.#route(this.#recordChanged(effect.record, now), now));
          break;
        case 'ownReturned':
          orders.push(...this.#route(this.#rowHeard(effect.record, effect.body, now), now));
          break;
        case 'publishLanes':
          orders.push(...this.#route(this.#publishLanes(effect.body, now), now));
          break;
        case 'publishRow':
          orders.push(this.#keepRow(effect));
          break;
        case 'memberChanged':
          orders.push(effect, ...this.#route(this.#memberChanged(effect, now), now));
          break;
        default:
          orders.push(effect);
      }
    }
    return orders;
  }

  #peerUp(up: LinkUp, now: Instant): readonly InnerEffect[] {
    this.#certificates.remember(up.certificate);
    const fact = { kind: 'peerUp', peer: up.peer } as const;
    return [
      ...this.#at(this.discovery).handle(fact, now),
      ...this.#at(this.membership).handle(fact, now),
      ...this.#at(this.records).handle(fact, now),
      ...this.#at(this.boards).handle(fact, now),
      ...this.#toQuorum(fact, now),
      ...this.#toBudgets(fact, now),
    ];
  }

  #peerDown(down: PeerDown, now: Instant): readonly InnerEffect[] {
    return [
      ...this.#at(this.discovery).handle(down, now),
      ...this.#at(this.membership).handle(down, now),
      ...this.#at(this.records).handle(down, now),
      ...this.#at(this.boards).handle(down, now),
      ...this.#toQuorum(down, now),
      ...this.#toBudgets(down, now),
    ];
  }

  #memberChanged(change: MemberChanged, now: Instant): readonly InnerEffect[] {
    const fact = { kind: 'memberChanged', member: change.member, state: change.state } as const;
    return [...this.#at(this.agents).handle(fact, now), ...this.#toBudgets(fact, now)];
  }

  #recordChanged(record: SignedRecord, now: Instant): readonly InnerEffect[] {
    const body = this.records.body(record.owner, record.kind, record.key);
    switch (record.kind) {
      case 'lanes':
        if (!this.#owners.learn(record.owner, record.key, body)) {
          return [{ kind: 'penalise', peer: record.owner, reason: 'its lanes record is malformed' }];
        }
        return this.#at(this.boards).handle({ kind: 'lanesChanged', owner: record.owner }, now);
      case 'node':
        return [
          { kind: 'descriptorChanged', node: record.owner },
          ...(record.owner === this.self ? [] : this.#learnAddresses(record.owner, body, now)),
        ];
      case 'agent':
        return this.#at(this.agents).handle({ kind: 'recordChanged', record }, now);
      case 'budget':
        return this.#rowHeard(record, body, now);
      default:
        return [];
    }
  }

  #rowHeard(record: SignedRecord, body: unknown, now: Instant): readonly InnerEffect[] {
    const { owner, key, sequence: version } = record;
    return this.#toBudgets({ kind: 'rowHeard', owner, key, version, body }, now);
  }

  /** Published once what the account persisted before is on the disk; of two rows under one key the newer is enough. */
  #keepRow({ key, body, to = [] }: PublishRow): NodeEffect {
    const number = ++this.#rowCount;
    const before = this.#rows.get(key)?.to ?? [];
    this.#rows.set(key, { number, body, to: to === 'all' || before === 'all' ? 'all' : [...before, ...to] });
    return { kind: 'awaitDisk', stream: BUDGET_STREAM, sequence: number };
  }

  #publishRows(upTo: number, now: Instant): readonly InnerEffect[] {
    const effects: InnerEffect[] = [];
    for (const [key, { number, body, to }] of this.#rows) {
      if (number > upTo) continue;
      this.#rows.delete(key);
      effects.push(...this.#at(this.records).publish('budget', key, body, now, { to }));
    }
    return effects;
  }

  #learnAddresses(owner: NodeId, body: unknown, now: Instant): readonly InnerEffect[] {
    const addresses = (body as Partial<NodeBody> | undefined)?.addresses;
    if (!Array.isArray(addresses)) return [];
    const texts = addresses.filter((address): address is string => typeof address === 'string');
    return this.#at(this.discovery).handle(
      { kind: 'claimed', source: 'gossip', claims: [{ nodeId: owner, addresses: texts }] },
      now,
    );
  }

  #renewed(certificate: Uint8Array, now: Instant): readonly InnerEffect[] {
    this.#certificate = certificate;
    return [
      ...this.#at(this.links).handle({ kind: 'renewed', certificate }, now),
      ...this.#publishDescriptor(this.#addresses, now),
    ];
  }

  #publishDescriptor(addresses: readonly string[], now: Instant): readonly InnerEffect[] {
    this.#addresses = addresses;
    const body: NodeBody = {
      ...this.#options.descriptor,
      addresses,
      startedAt: this.startedAt,
      certificate: this.#certificate,
    };
    return this.#at(this.records).publish('node', '', body, now);
  }

  #publishLanes(lanes: LanesBody, now: Instant): readonly InnerEffect[] {
    const running = { id: this.incarnation, nonce: this.#options.nonce };
    return this.#owners
      .recordsFor(this.self, lanes, running)
      .flatMap(({ key, body }) => this.#at(this.records).publish('lanes', key, body, now, { durable: true }));
  }
}

/** A row that waits for the disk; `to` as in `PublishRow`. */
interface WaitingRow {
  readonly number: number;
  readonly body: unknown;
  readonly to: readonly NodeId[] | 'all';
}
