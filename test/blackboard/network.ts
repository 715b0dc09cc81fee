/** Several boards machines on a virtual network with faults, for tests: deterministic, no real time. */
import { hash as nodeHash } from 'node:crypto';
import type { BoardAnswers, BoardCall } from '../../src/blackboard/api.ts';
import type { BoardConfig } from '../../src/blackboard/board.ts';
import { Boards, type BoardsEffect, type BoardsEvent } from '../../src/blackboard/boards.ts';
import type { Result } from '../../src/kernel/errors.ts';
import type { AgentId, BoardName, NodeId } from '../../src/kernel/ids.ts';
import type { Cryptography, Signer } from '../../src/kernel/ports.ts';
import { type Rng, seededRng } from '../../src/kernel/rng.ts';
import type { Instant } from '../../src/kernel/time.ts';
import type { LanesBody } from '../../src/replication/record.ts';

export const MAIN = 'main' as BoardName;
export const START_MS = Date.UTC(2026, 0, 1);

export function sha256(bytes: Uint8Array): Uint8Array {
  return nodeHash('sha256', bytes, 'buffer');
}

/** Not secure, but nobody here can sign for another by accident. */
export function signatureOf(node: string, message: Uint8Array): Uint8Array {
  const half = sha256(Buffer.concat([Buffer.from(`key of ${node}`), message]));
  return Buffer.concat([half, half]);
}

export const cryptography: Cryptography = {
  hash: sha256,
  verifyNode: (signer, message, signature) => Buffer.from(signature).equals(signatureOf(signer, message)),
  verify: () => false,
};

function signerOf(node: string): Signer {
  return { publicKey: new Uint8Array(32), sign: (message) => signatureOf(node, message) };
}

export interface Faults {
  loss: number;
  duplication: number;
  /** Frames take up to this long; later ones may overtake. */
  jitterMs: number;
}

export interface TestNode {
  readonly id: NodeId;
  boards: Boards;
  incarnation: number;
  up: boolean;
  /** What the disk has, tag bytes included. */
  journal: Uint8Array[];
  marks: { level: string; name: string; fields: Readonly<Record<string, unknown>> }[];
  penalties: { peer: NodeId; reason: string }[];
  effects: BoardsEffect[];
  clockOffsetMs: number;
}

interface Flying {
  readonly atMs: number;
  readonly order: number;
  readonly from: NodeId;
  readonly to: NodeId;
  readonly bytes: Uint8Array;
}

export class Network {
  readonly nodes = new Map<NodeId, TestNode>();
  readonly bodies = new Map<NodeId, LanesBody>();
  /** Whose an incarnation is: proven once, and true even where its node has forgotten it, until that withdraws it. */
  readonly proofs = new Map<number, NodeId>();
  readonly faults: Faults = { loss: 0, duplication: 0, jitterMs: 0 };
  readonly answers = new Map<number, Result<unknown>>();
  readonly config: { boards: BoardConfig[] };
  readonly rng: Rng;
  /** Bytes handed to the wire, counted once for each receiver. */
  sentBytes = 0;
  sentFrames = 0;
  onFrame: ((from: NodeId, to: NodeId, bytes: Uint8Array) => void) | undefined;
  latencyMs = 1;
  #cuts = new Set<string>();
  #flying: Flying[] = [];
  #order = 0;
  #nowMs = 0;
  #nextId = 1;
  #nextIncarnation: number;

  constructor(
    seed: number,
    names: readonly string[],
    boards: BoardConfig[] = [{ name: 'main', mode: 'crdt' }],
  ) {
    this.rng = seededRng(seed);
    this.#nextIncarnation = 1_000 + this.rng.below(1_000_000);
    this.config = { boards };
    for (const name of names) this.add(name);
    this.connectAll();
    this.run(50);
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  now(node?: TestNode): Instant {
    return { monoMs: this.#nowMs, wallMs: START_MS + this.#nowMs + (node?.clockOffsetMs ?? 0) };
  }

  node(name: string): TestNode {
    const node = this.nodes.get(name as NodeId);
    if (node === undefined) throw new Error(`no node ${name}`);
    return node;
  }

  add(name: string): TestNode {
    const id = name as NodeId;
    const incarnation = this.#newIncarnation();
    const node: TestNode = {
      id,
      boards: this.#machine(id, incarnation),
      incarnation,
      up: true,
      journal: [],
      marks: [],
      penalties: [],
      effects: [],
      clockOffsetMs: 0,
    };
    this.nodes.set(id, node);
    this.#tellLanes(node);
    this.#settle(node);
    return node;
  }

  /** Stops a node; what was not on its disk is gone. */
  crash(name: string): void {
    const node = this.node(name);
    node.up = false;
    this.#flying = this.#flying.filter((frame) => frame.from !== node.id && frame.to !== node.id);
    for (const other of this.nodes.values()) if (other !== node && other.up) this.#tellDown(other, node);
  }

  /** Starts it again from its journal (or `records`), as a new incarnation. */
  restart(name: string, records?: readonly Uint8Array[]): TestNode {
    const node = this.node(name);
    if (node.up) this.crash(name);
    node.incarnation = this.#newIncarnation();
    node.boards = this.#machine(node.id, node.incarnation);
    if (records !== undefined) node.journal = [...records];
    node.boards.load(
      node.journal.map((record) => record.subarray(1)),
      this.now(node),
    );
    node.up = true;
    this.#tellLanes(node);
    this.#settle(node);
    for (const other of this.nodes.values()) this.#connect(node, other);
    return node;
  }

  connectAll(): void {
    const nodes = [...this.nodes.values()];
    for (const left of nodes) for (const right of nodes) if (left.id < right.id) this.#connect(left, right);
  }

  isUp(left: NodeId, right: NodeId): boolean {
    const both = [this.nodes.get(left), this.nodes.get(right)];
    return both.every((node) => node?.up) && !this.#cuts.has(pair(left, right));
  }

  cut(left: string, right: string): void {
    this.#cuts.add(pair(left, right));
    this.#tellDown(this.node(left), this.node(right));
    this.#tellDown(this.node(right), this.node(left));
  }

  /** Cuts every link between the two groups. */
  partition(left: readonly string[], right: readonly string[]): void {
    for (const one of left) for (const other of right) this.cut(one, other);
  }

  mend(left: string, right: string): void {
    this.#cuts.delete(pair(left, right));
    this.#connect(this.node(left), this.node(right));
  }

  heal(): void {
    this.faults.loss = this.faults.duplication = this.faults.jitterMs = 0;
    const cuts = [...this.#cuts];
    this.#cuts.clear();
    for (const cut of cuts) {
      const [left, right] = cut.split('|') as [string, string];
      this.#connect(this.node(left), this.node(right));
    }
  }

  /** Asks without letting time pass; the answer comes with `run`, unless it needs none. */
  ask(name: string, call: BoardCall, agent = `agent-${name}`): number {
    const id = this.#nextId++;
    this.event(name, { kind: 'requested', id, call, writer: { agent: agent as AgentId } });
    return id;
  }

  /** Writes many keys in one turn of the host's loop. */
  writeAll(name: string, entries: Iterable<readonly [string, unknown]>): void {
    const node = this.node(name);
    const writer = { agent: `agent-${name}` as AgentId };
    for (const [key, value] of entries) {
      const call: BoardCall = { op: 'write', board: MAIN, key, value: value as never };
      const id = this.#nextId++;
      this.#take(node, node.boards.handle({ kind: 'requested', id, call, writer }, this.now(node)));
    }
    this.#settle(node);
  }

  /** Asks and runs until there is an answer. */
  call<C extends BoardCall>(name: string, call: C, agent?: string): Result<BoardAnswers[C['op']]> {
    const id = this.ask(name, call, agent);
    const untilMs = this.#nowMs + 400_000;
    while (!this.answers.has(id)) {
      if (this.#nowMs > untilMs || !this.#step(untilMs)) throw new Error('no answer');
    }
    return this.answers.get(id) as Result<BoardAnswers[C['op']]>;
  }

  write(name: string, key: string, value: unknown, extra: object = {}): BoardAnswers['write'] {
    return expectOk(this.call(name, { op: 'write', board: MAIN, key, value: value as never, ...extra }));
  }

  read(name: string, key: string): unknown {
    const answer = expectOk(this.call(name, { op: 'read', board: MAIN, key }));
    return answer.found ? answer.value : undefined;
  }

  event(name: string, event: BoardsEvent): void {
    const node = this.node(name);
    this.#take(node, node.boards.handle(event, this.now(node)));
    this.#settle(node);
  }

  /** A frame that a hostile node made itself. */
  inject(from: string, to: string, bytes: Uint8Array): void {
    this.event(to, { kind: 'received', from: from as NodeId, bytes });
  }

  run(ms: number): void {
    const untilMs = this.#nowMs + ms;
    while (this.#step(untilMs));
    this.#nowMs = untilMs;
  }

  /** Runs until the condition holds; fails where it does not within `withinMs` of virtual time. */
  until(condition: () => boolean, withinMs = 30_000): number {
    const startMs = this.#nowMs;
    while (!condition()) {
      if (this.#nowMs - startMs > withinMs || !this.#step(startMs + withinMs)) {
        if (condition()) break;
        throw new Error(`condition does not hold after ${withinMs} ms`);
      }
    }
    return this.#nowMs - startMs;
  }

  hashes(board: BoardName = MAIN): string[] {
    return [...this.nodes.values()]
      .filter((node) => node.up)
      .map((node) => node.boards.hash(board, this.now()));
  }

  get converged(): boolean {
    return new Set(this.hashes()).size === 1;
  }

  converge(withinMs = 30_000): number {
    return this.until(() => this.converged, withinMs);
  }

  #machine(self: NodeId, incarnation: number): Boards {
    return new Boards({
      self,
      incarnation,
      config: this.config,
      lanes: {
        ownerOf: (wanted) => this.proofs.get(wanted),
        of: (node) => this.bodies.get(node),
      },
      membership: { isUp: (other) => this.isUp(self, other) },
      signer: signerOf(self),
      cryptography,
      rng: this.rng.fork(),
      now: this.now(),
    });
  }

  /** As the records machine does with what it loaded and received. */
  #tellLanes(node: TestNode): void {
    for (const owner of this.bodies.keys()) {
      this.#take(node, node.boards.handle({ kind: 'lanesChanged', owner }, this.now(node)));
    }
  }

  #newIncarnation(): number {
    this.#nextIncarnation += 1 + this.rng.below(2 ** 40);
    return this.#nextIncarnation;
  }

  #connect(left: TestNode, right: TestNode): void {
    if (left === right || !this.isUp(left.id, right.id)) return;
    for (const [self, peer] of [
      [left, right],
      [right, left],
    ] as const) {
      this.#take(self, self.boards.handle({ kind: 'peerUp', peer: peer.id }, this.now(self)));
      this.#settle(self);
    }
  }

  #tellDown(node: TestNode, peer: TestNode): void {
    if (!node.up) return;
    const event: BoardsEvent = { kind: 'peerDown', peer: peer.id, reason: 'test' };
    this.#take(node, node.boards.handle(event, this.now(node)));
  }

  /** Deadlines that are due, as a host honours them once its queue is empty. */
  #settle(node: TestNode): void {
    for (let turns = 0; turns < 10_000; turns++) {
      const deadline = node.boards.deadline();
      if (deadline === undefined || deadline.atMs > this.#nowMs) return;
      this.#take(node, node.boards.expire(this.now(node)));
    }
    throw new Error(`the machine of ${node.id} does not come to rest: ${node.boards.deadline()?.reason}`);
  }

  #take(node: TestNode, effects: readonly BoardsEffect[]): void {
    for (const effect of effects) {
      node.effects.push(effect);
      switch (effect.kind) {
        case 'send':
          for (const to of effect.to) this.#send(node.id, to, effect.bytes);
          break;
        case 'persist':
          node.journal.push(...effect.records.map((record) => record.slice()));
          break;
        case 'answer':
          if (this.answers.has(effect.id)) throw new Error('answered twice');
          this.answers.set(effect.id, effect.result);
          break;
        case 'mark':
          node.marks.push(effect);
          break;
        case 'penalise':
          node.penalties.push(effect);
          break;
        case 'publishLanes':
          for (const incarnation of namedIn(this.bodies.get(node.id))) this.proofs.delete(incarnation);
          this.bodies.set(node.id, effect.body);
          for (const incarnation of namedIn(effect.body)) this.proofs.set(incarnation, node.id);
          for (const other of this.nodes.values()) {
            if (!other.up) continue;
            this.#take(other, other.boards.handle({ kind: 'lanesChanged', owner: node.id }, this.now(other)));
          }
          break;
        default:
          break;
      }
    }
    if (node.effects.length > 10_000) node.effects = [];
  }

  #send(from: NodeId, to: NodeId, bytes: Uint8Array): void {
    this.sentBytes += bytes.length;
    this.sentFrames++;
    if (!this.isUp(from, to)) return;
    this.onFrame?.(from, to, bytes);
    const copies = this.rng.chance(this.faults.duplication) ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      if (this.rng.chance(this.faults.loss)) continue;
      const jitter = this.faults.jitterMs > 0 ? this.rng.below(this.faults.jitterMs) : 0;
      const atMs = this.#nowMs + this.latencyMs + jitter;
      this.#flying.push({ atMs, order: this.#order++, from, to, bytes: bytes.slice() });
    }
  }

  /** One frame or deadline; false where nothing is due until then. */
  #step(untilMs: number): boolean {
    let frameAt = -1;
    for (let index = 0; index < this.#flying.length; index++) {
      const best = this.#flying[frameAt];
      const frame = this.#flying[index] as Flying;
      if (
        best === undefined ||
        frame.atMs < best.atMs ||
        (frame.atMs === best.atMs && frame.order < best.order)
      ) {
        frameAt = index;
      }
    }
    let wake: TestNode | undefined;
    let wakeMs = Number.POSITIVE_INFINITY;
    for (const node of this.nodes.values()) {
      const atMs = node.up
        ? (node.boards.deadline()?.atMs ?? Number.POSITIVE_INFINITY)
        : Number.POSITIVE_INFINITY;
      if (atMs < wakeMs) [wake, wakeMs] = [node, atMs];
    }
    const frame = this.#flying[frameAt];
    const nextMs = Math.min(frame?.atMs ?? Number.POSITIVE_INFINITY, wakeMs);
    if (nextMs > untilMs) return false;
    this.#nowMs = Math.max(this.#nowMs, nextMs);
    if (frame !== undefined && frame.atMs <= wakeMs) {
      this.#flying.splice(frameAt, 1);
      const node = this.nodes.get(frame.to);
      if (node?.up && this.isUp(frame.from, frame.to)) {
        const event: BoardsEvent = { kind: 'received', from: frame.from, bytes: frame.bytes };
        this.#take(node, node.boards.handle(event, this.now(node)));
        this.#settle(node);
      }
    } else if (wake !== undefined) {
      this.#take(wake, wake.boards.expire(this.now(wake)));
      this.#settle(wake);
    }
    return true;
  }
}

/** Incarnations that a list still needs proof for. */
function namedIn(body: LanesBody | undefined): readonly number[] {
  if (body === undefined) return [];
  const folded = Object.keys(body.folded).map((key) => Number(key.slice(key.indexOf('@') + 1)));
  return [...body.incarnations, ...folded];
}

export function expectOk<T>(result: Result<T>): T {
  if (!result.ok) throw new Error(`${result.error.code}: ${result.error.message}`);
  return result.value;
}

function pair(left: string, right: string): string {
  return left < right ? `${left}|${right}` : `${right}|${left}`;
}

/** Processor time of this process: unlike the clock on the wall, it does not grow while others have the processor. */
export function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}
