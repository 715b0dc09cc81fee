import type { EtcdStore } from '../adapters/etcd/store.ts';
import { nodeClock } from '../adapters/node/clock.ts';
import { nodeCryptography } from '../adapters/node/cryptography.ts';
import { nodeEntropy } from '../adapters/node/entropy.ts';
import type { Journal } from '../adapters/node/journal.ts';
import type { Identity } from '../adapters/node/keys.ts';
import type { NodeLogger } from '../adapters/node/log.ts';
import { collectProcess, createMeter, type NodeMeter } from '../adapters/node/meter.ts';
import type { AgentDirectory } from '../agents/api.ts';
import type { Blackboard, YjsAccess } from '../blackboard/api.ts';
import type { Budgets } from '../budget/api.ts';
import type { Clock, JournalContents, Wire } from '../kernel/ports.ts';
import { seededRng } from '../kernel/rng.ts';
import { CERTIFICATE_SKEW_MS, CERTIFICATE_VALIDITY_MS } from '../mesh/identity/certificate.ts';
import { certifyMember, type Swarm } from '../mesh/identity/swarm.ts';
import type { MeshView, Problem } from '../mesh/view.ts';
import type { QuorumConfig } from '../quorum/config.ts';
import type { NamedLeases } from '../quorum/leases.ts';
import type { QuorumStore } from '../quorum/port.ts';
import type { Voters } from '../quorum/voters/voters-api.ts';
import { budgetSettings, budgetsOf, drawnNumbers, freshNumber, placeOf } from './budget-face.ts';
import { BudgetStore } from './budget-store.ts';
import { Calls } from './calls.ts';
import type { Config } from './config/options.ts';
import { NodeCore, type NodeEffect, type NodeEvent } from './core.ts';
import { Executor } from './executor.ts';
import { Announcements, agentDirectoryOf, blackboardOf, type FaceParts, yjsAccessOf } from './faces.ts';
import { NONCE_BYTES } from './lane-owners.ts';
import { type MeshFacts, peersOf, statusOf } from './mesh-view.ts';
import { perform } from './perform.ts';
import { quorumConfigOf } from './quorum-config.ts';
import { type QuorumFace, quorumFaceOf } from './quorum-engine.ts';
import { declaredBoards, type QuorumServices, quorumServicesOf } from './quorum-services.ts';
import { VERSION } from './version.ts';

interface HostParts {
  readonly config: Config;
  readonly identity: Identity;
  readonly swarm: Swarm;
  readonly journal: JournalContents;
  readonly disk: Journal;
  readonly wire: Wire;
  readonly logger: NodeLogger;
  /** Keeps the quorum store where the configuration says so. */
  readonly etcd?: EtcdStore | undefined;
  /** The core threw. By then nothing happens any more, and who waited for an answer has one. */
  readonly onBroken: (error: unknown) => void;
}

/** What callers within this process use; HTTP and MCP stand on the same. */
export interface Faces {
  readonly blackboard: Blackboard;
  readonly yjs: YjsAccess;
  readonly agents: AgentDirectory;
  readonly mesh: MeshView;
  readonly leases: NamedLeases;
  readonly voters: Voters;
  readonly quorum: QuorumFace;
  readonly budgets: Budgets;
  readonly clock: Clock;
}

const RENEWAL_CHECK_MS = 60_000;
/** Within what a stop may take, and long enough for any disk that works. */
const DRAIN_MS = 300;
/** A round and the disks of a majority; no longer than an election would take. */
const HAND_OVER_MS = 500;
const HAND_OVER_STEP_MS = 5;

/** The node's core on the real ports, with its faces. */
export class Host {
  readonly meter: NodeMeter = createMeter();
  readonly faces: Faces;
  readonly #parts: HostParts;
  readonly #clock = nodeClock();
  readonly #entropy = nodeEntropy();
  readonly #calls = new Calls();
  readonly #announcements = new Announcements();
  readonly #core: NodeCore;
  readonly #executor: Executor<NodeEvent, NodeEffect>;
  readonly #renewal: NodeJS.Timeout;
  #certifiedAtMs = 0;
  #isBroken = false;
  #diskFailure: string | undefined;
  #services: QuorumServices | undefined;
  #budgetStore: BudgetStore | undefined;
  /** Problems of the world outside the core: multicast, a registry. */
  readonly #problems: (() => readonly Problem[])[] = [];

  constructor(parts: HostParts) {
    this.#parts = parts;
    const { name, roles } = parts.config.node;
    const descriptor = { name, roles, zone: 'trusted', version: VERSION };
    this.#core = new NodeCore({
      self: parts.identity.nodeId,
      signer: parts.identity.signer,
      cryptography: nodeCryptography,
      swarm: parts.swarm,
      certificate: this.#certificate(),
      nonce: this.#entropy.bytes(NONCE_BYTES),
      descriptor,
      boards: { boards: declaredBoards(parts.config) },
      quorum: quorumOf(parts.config),
      budgets: {
        place: placeOf(parts.config.node.data),
        fresh: () => freshNumber(this.#entropy),
        drawn: drawnNumbers(this.#entropy),
        ...budgetSettings(parts.config),
        isOrchestrator: roles.includes('orchestrator'),
      },
      isJournalSuspect: parts.journal.quarantined.length > 0,
      journal: parts.journal.records,
      rng: seededRng(this.#randomInteger()),
      now: this.#clock.now(),
    });
    this.#executor = this.#execute();
    this.#renewal = setInterval(() => this.#renew(), RENEWAL_CHECK_MS);
    this.#renewal.unref();
    collectProcess(this.meter);
    this.faces = this.#makeFaces({
      core: this.#core,
      swarm: parts.swarm.id,
      descriptor,
      meshAddresses: () => parts.wire.addresses(),
      now: () => this.#clock.now(),
      problems: () => [
        ...journalProblems(parts.journal),
        ...diskProblems(this.#diskFailure),
        ...this.#problems.flatMap((problems) => problems()),
      ],
    });
  }

  deliver(event: NodeEvent): void {
    this.#executor.deliver(event);
  }

  addProblems(problems: () => readonly Problem[]): void {
    this.#problems.push(problems);
  }

  /** Has another lead the quorum store: its writes would wait for an election otherwise. Calls are taken meanwhile. */
  async handOver(): Promise<void> {
    if (this.#isBroken) return;
    this.#executor.execute(this.#core.handOver(this.#clock.now()));
    const endMs = performance.now() + HAND_OVER_MS;
    while (this.#core.quorum?.isHandingOver === true && performance.now() < endMs)
      await new Promise((resolve) => setTimeout(resolve, HAND_OVER_STEP_MS));
  }

  /** Tells the other members that this node goes. */
  leave(): void {
    if (this.#isBroken) return;
    this.#executor.execute(this.#core.leave(this.#clock.now()));
  }

  /** Takes no more calls; what waits for the disk is answered as it should be, the rest is told that the node stops. */
  drain(): Promise<void> {
    this.#services?.close();
    return this.#calls.drain(DRAIN_MS);
  }

  /** Nothing happens any more; callers that still wait are told so. */
  halt(): void {
    clearInterval(this.#renewal);
    this.#services?.close();
    this.#budgetStore?.close();
    this.#executor.stop();
    this.#calls.close();
  }

  #execute(): Executor<NodeEvent, NodeEffect> {
    const { wire, logger, disk } = this.#parts;
    const performers = {
      wire,
      logger,
      meter: this.meter,
      calls: this.#calls,
      announcements: this.#announcements,
      budgetStore: () => this.#budgetStore,
    };
    return new Executor<NodeEvent, NodeEffect>({
      machine: this.#core,
      clock: this.#clock,
      disk,
      defer: (callback) => {
        setImmediate(callback);
      },
      perform: (effect) => perform(effect, performers),
      onDisk: (failure) => {
        this.#diskFailure = failure;
        if (failure === undefined) logger.log('info', 'disk.recovered', {});
        else logger.log('error', 'disk.failed', { reason: failure });
      },
      onBroken: (error) => {
        logger.log('error', 'node.broken', { error: error instanceof Error ? error.stack : String(error) });
        this.#isBroken = true;
        this.halt();
        // Not within whatever call broke it.
        setImmediate(() => this.#parts.onBroken(error));
      },
    });
  }

  #makeFaces(facts: MeshFacts): Faces {
    const parts = {
      core: this.#core,
      clock: this.#clock,
      calls: this.#calls,
      announcements: this.#announcements,
      deliver: (event: NodeEvent) => this.deliver(event),
    };
    const peers = () => peersOf(facts);
    const quorum = quorumFaceOf(parts, peers, this.#parts.etcd);
    this.#followBudgets(quorum.store);
    const services = this.#serve(quorum.store, blackboardOf(parts));
    const startedMs = this.#clock.now().monoMs;
    this.addProblems(() => [
      ...services.problems(),
      ...quorum.problems(this.#clock.now().monoMs - startedMs, this.#parts.config.quorum.foundAfter),
    ]);
    return {
      blackboard: services.blackboard,
      leases: services.leases,
      voters: quorum.voters,
      yjs: yjsAccessOf(parts),
      agents: agentDirectoryOf(parts),
      quorum,
      budgets: this.#budgetsOver(parts),
      mesh: {
        peers,
        status: () => ({ ...statusOf(facts), quorum: quorum.view() }),
        watch: (listener) => this.#announcements.lists.listen('nodes', listener),
      },
      clock: this.#clock,
    };
  }

  #followBudgets(store: QuorumStore): void {
    const { logger } = this.#parts;
    this.#budgetStore = new BudgetStore({
      store,
      clock: this.#clock,
      deliver: (event) => this.deliver(event),
      onFault: (error) => logger.log('error', 'budget.storeFailed', { error: String(error) }),
    });
    this.#budgetStore.start();
  }

  #budgetsOver(parts: FaceParts): Budgets {
    const { budgets } = this.#core;
    if (budgets === undefined) throw new Error('a node keeps its budgets');
    return budgetsOf(parts, budgets);
  }

  #serve(store: QuorumStore, crdt: Blackboard): QuorumServices {
    const { config, identity, logger } = this.#parts;
    const services = quorumServicesOf({
      crdt,
      store,
      boards: declaredBoards(config),
      self: identity.nodeId,
      clock: this.#clock,
      entropy: this.#entropy,
      onFault: (error) => logger.log('error', 'board.listenerFailed', { error: String(error) }),
    });
    this.#services = services;
    return services;
  }

  /** By the wall clock, which may have been wrong at the start or stood still with the machine: timers tell neither. */
  #renew(): void {
    const ageMs = this.#clock.now().wallMs - this.#certifiedAtMs;
    if (ageMs < -CERTIFICATE_SKEW_MS || ageMs > CERTIFICATE_VALIDITY_MS / 3) {
      this.deliver({ kind: 'renewed', certificate: this.#certificate() });
    }
  }

  #certificate(): Uint8Array {
    const { identity, swarm, config } = this.#parts;
    this.#certifiedAtMs = this.#clock.now().wallMs;
    const { name, roles } = config.node;
    const member = {
      nodeId: identity.nodeId,
      name,
      roles,
      zone: 'trusted',
      serial: this.#randomInteger() + 1,
    };
    return certifyMember(swarm, member, this.#clock.now());
  }

  #randomInteger(): number {
    return this.#entropy.bytes(6).reduce((value, byte) => value * 256 + byte, 0);
  }
}

function journalProblems(journal: JournalContents): readonly Problem[] {
  return journal.quarantined.map((file) => ({
    code: 'JOURNAL_CORRUPT',
    message: `A file of the journal was damaged and is kept aside as ${file}.`,
    hint: 'What was readable is in use, and the rest comes back from the other nodes; check the disk, then delete the file.',
  }));
}

function diskProblems(failure: string | undefined): readonly Problem[] {
  if (failure === undefined) return [];
  return [
    {
      code: 'DISK_FAILS',
      message: `This node cannot write to its disk, and refuses whatever needs it: ${failure}.`,
      hint: 'Free space in the data directory, or repair the disk; writes are accepted again by themselves.',
    },
  ];
}

function quorumOf({ mesh, node, quorum }: Config): QuorumConfig | undefined {
  if (quorum.engine !== 'embedded') return undefined;
  return quorumConfigOf({
    voters: quorum.voters.target,
    foundAfterMs: quorum.foundAfter,
    replaceAfterMs: quorum.voters.replaceAfter,
    reads: quorum.reads,
    isToldOfOthers: mesh.peers.length > 0 || mesh.registry !== undefined,
    roles: node.roles,
  });
}
