import { Agents, type AgentsEffect, type AgentsEvent } from '../../src/agents/agents.ts';
import type { AgentCall, AgentInfo, DiscoverQuery } from '../../src/agents/api.ts';
import type { Answer } from '../../src/kernel/effects.ts';
import type { Result } from '../../src/kernel/errors.ts';
import type { NodeId } from '../../src/kernel/ids.ts';
import type { Machine } from '../../src/kernel/machine.ts';
import { type Rng, seededRng } from '../../src/kernel/rng.ts';
import { type Deadline, earliest, type Instant, isDue } from '../../src/kernel/time.ts';
import { Records, type RecordsEvent } from '../../src/replication/records.ts';
import { SimulatedCryptography } from '../../src/sim/cryptography.ts';
import { Network, nodeId } from '../replication/network.ts';
import { untagged } from '../replication/record-mesh.ts';

/** Records and agents wired as the node's core wires them, with a membership that the test decides. */
export class AgentNode implements Machine<RecordsEvent | AgentsEvent, AgentsEffect> {
  readonly records: Records;
  readonly agents: Agents;
  readonly dead = new Set<NodeId>();
  /** What this machine's clock is off by. */
  readonly skewMs: number;

  constructor(options: {
    readonly signer: ReturnType<SimulatedCryptography['makeSigner']>;
    readonly cryptography: SimulatedCryptography;
    readonly rng: Rng;
    readonly now: Instant;
    readonly skewMs: number;
    readonly journal: readonly Uint8Array[];
  }) {
    this.skewMs = options.skewMs;
    const now = this.#skewed(options.now);
    const self = options.signer.nodeId;
    this.records = new Records({ ...options, self, now });
    this.records.load(options.journal, now);
    this.agents = new Agents({
      self,
      records: this.records,
      isAlive: (node) => !this.dead.has(node),
      nameOf: (node) => `machine-${node.slice(-1)}`,
    });
    this.agents.load(now);
  }

  handle(event: RecordsEvent | AgentsEvent, at: Instant): readonly AgentsEffect[] {
    const now = this.#skewed(at);
    switch (event.kind) {
      case 'requested':
      case 'memberChanged':
      case 'recordChanged':
        return this.#route(this.agents.handle(event, now), now);
      default:
        return this.#route(this.records.handle(event, now), now);
    }
  }

  expire(at: Instant): readonly AgentsEffect[] {
    const now = this.#skewed(at);
    return [this.records, this.agents].flatMap((machine) =>
      isDue(machine.deadline(), now) ? this.#route(machine.expire(now), now) : [],
    );
  }

  deadline(): Deadline | undefined {
    return earliest([this.records.deadline(), this.agents.deadline()]);
  }

  discover(query: DiscoverQuery, at: Instant): readonly AgentInfo[] {
    return this.agents.discover(query, this.#skewed(at));
  }

  #route(effects: readonly AgentsEffect[], now: Instant): readonly AgentsEffect[] {
    return effects.flatMap((effect) =>
      effect.kind === 'recordChanged' ? [effect, ...this.agents.handle(effect, now)] : [effect],
    );
  }

  #skewed(now: Instant): Instant {
    return { monoMs: now.monoMs, wallMs: now.wallMs + this.skewMs };
  }
}

export class AgentMesh extends Network<AgentNode> {
  readonly #keys: ReturnType<SimulatedCryptography['makeSigner']>[] = [];
  readonly #cryptography: SimulatedCryptography;
  readonly #rng: Rng;
  #requests = 0;

  constructor(size: number, seed: number, skewsMs: readonly number[] = []) {
    const rng = seededRng(seed);
    super(rng.fork());
    this.#rng = rng;
    let number = 0;
    this.#cryptography = new SimulatedCryptography(rng.fork(), () => nodeId(++number));
    for (let index = 0; index < size; index++) {
      this.#keys.push(this.#cryptography.makeSigner());
      this.boot(index, [], skewsMs[index]);
    }
    this.connectAll();
  }

  boot(index: number, journal: readonly Uint8Array[], skewMs = 0): void {
    const { now } = this;
    const node = {
      signer: this.#keys[index]!,
      cryptography: this.#cryptography,
      rng: this.#rng.fork(),
      now,
      skewMs,
      journal,
    };
    this.add(this.id(index), new AgentNode(node));
  }

  /** Returns its disk. */
  crash(index: number): readonly Uint8Array[] {
    const journal = untagged(this.node(index).records.checkpoint());
    for (const other of this.nodes.keys())
      if (other !== this.id(index)) this.disconnect(this.id(index), other);
    this.nodes.delete(this.id(index));
    return journal;
  }

  /** All others learn that a node is dead, or alive again. */
  declare(index: number, state: 'dead' | 'alive'): void {
    const member = this.id(index);
    for (const [id, { dead }] of this.nodes) {
      if (id === member) continue;
      if (state === 'dead') dead.add(member);
      else dead.delete(member);
      this.tell(id, { kind: 'memberChanged', member, state } as { kind: string });
    }
  }

  id(index: number): NodeId {
    return this.#keys[index]!.nodeId;
  }

  node(index: number): AgentNode {
    return this.nodes.get(this.id(index))!;
  }

  call(index: number, call: unknown): Result<AgentInfo> {
    const id = ++this.#requests;
    this.tell(this.id(index), { kind: 'requested', id, call: call as AgentCall } as { kind: string });
    const answers = this.effects.filter(
      ({ effect }) => effect.kind === 'answer' && (effect as Answer).id === id,
    );
    if (answers.length !== 1) throw new Error(`${answers.length} answers`);
    return (answers[0]!.effect as unknown as Answer).result as Result<AgentInfo>;
  }

  register(index: number, agentId: string, fields: Record<string, unknown> = {}): Result<AgentInfo> {
    return this.call(index, {
      op: 'register',
      registration: { agentId, capabilities: ['review'], ...fields },
    });
  }

  heartbeat(index: number, agentId: string): Result<AgentInfo> {
    return this.call(index, { op: 'heartbeat', agentId });
  }

  listed(index: number, query: DiscoverQuery = {}): string[] {
    return this.node(index)
      .discover(query, this.now)
      .map(({ agentId }) => agentId);
  }

  /** `agentsChanged` that a node has said. */
  changes(index: number): number {
    return this.effects.filter(
      ({ node, effect }) => node === this.id(index) && effect.kind === 'agentsChanged',
    ).length;
  }
}
