/** Composed cores joined by hand: their frames are carried from one to the other, and time goes when a test says so. */
import { nodeCryptography, signerFromSeed } from '../../src/adapters/node/cryptography.ts';
import type { NodeId } from '../../src/kernel/ids.ts';
import { seededRng } from '../../src/kernel/rng.ts';
import type { Instant } from '../../src/kernel/time.ts';
import { swarmIdOf } from '../../src/mesh/identity/certificate.ts';
import { nodeIdFromPublicKey } from '../../src/mesh/identity/peer-id.ts';
import { certifyMember, type Swarm } from '../../src/mesh/identity/swarm.ts';
import { NodeCore, type NodeEffect, type NodeEvent } from '../../src/node/core.ts';

export const NOON = Date.UTC(2026, 10, 21, 12);
export const DAY_MS = 24 * 3_600_000;

export function swarmNumber(number: number): Swarm {
  const root = signerFromSeed(new Uint8Array(32).fill(200 + number));
  return { id: swarmIdOf(nodeCryptography, root.publicKey), rootPublicKey: root.publicKey, root };
}

export interface CarriedFrame {
  readonly from: NodeId;
  readonly to: NodeId;
  readonly channel: 'hello' | 'mesh' | 'records' | 'board';
  readonly bytes: Uint8Array;
}

export class CoreNode {
  readonly nodeId: NodeId;
  readonly name: string;
  readonly swarm: Swarm;
  readonly journal: Uint8Array[] = [];
  core: NodeCore;
  /** Milliseconds since all began. */
  nowMs = 0;
  readonly #seed: Uint8Array;
  readonly #boards: readonly string[];
  #starts = 0;

  /** `issuedMs`: when its certificate was, on its own clock. */
  constructor(number: number, swarm: Swarm, issuedMs = 0, boards: readonly string[] = ['main']) {
    this.#seed = new Uint8Array(32).fill(number);
    this.#boards = boards;
    this.swarm = swarm;
    this.name = `node-${number}`;
    this.nodeId = nodeIdFromPublicKey(signerFromSeed(this.#seed).publicKey);
    this.core = this.#make(issuedMs);
  }

  now(): Instant {
    return { monoMs: this.nowMs, wallMs: NOON + this.nowMs };
  }

  certificate(issuedMs = this.nowMs, name = this.name): Uint8Array {
    const member = { nodeId: this.nodeId, name, roles: ['worker'], zone: 'trusted', serial: ++this.#starts };
    return certifyMember(this.swarm, member, { monoMs: 0, wallMs: NOON + issuedMs });
  }

  /** A new process on what the journal holds. */
  restart(): void {
    this.core = this.#make(this.nowMs);
  }

  handle(event: NodeEvent): readonly NodeEffect[] {
    return this.#kept(this.core.handle(event, this.now()));
  }

  /** Everything that is due by now. */
  expire(): readonly NodeEffect[] {
    const effects: NodeEffect[] = [];
    for (
      let rounds = 0;
      rounds < 20 && (this.core.deadline()?.atMs ?? this.nowMs + 1) <= this.nowMs;
      rounds++
    )
      effects.push(...this.#kept(this.core.expire(this.now())));
    return effects;
  }

  #kept(effects: readonly NodeEffect[]): readonly NodeEffect[] {
    for (const effect of effects) if (effect.kind === 'persist') this.journal.push(...effect.records);
    return effects;
  }

  #make(issuedMs: number): NodeCore {
    return new NodeCore({
      self: this.nodeId,
      signer: signerFromSeed(this.#seed),
      cryptography: nodeCryptography,
      swarm: this.swarm,
      certificate: this.certificate(issuedMs),
      nonce: new Uint8Array(8).fill(this.#starts) as never,
      descriptor: { name: this.name, roles: ['worker'], zone: 'trusted', version: '0.0.0-test' },
      boards: { boards: this.#boards.map((name) => ({ name, mode: 'crdt' })) },
      quorum: undefined,
      isJournalSuspect: false,
      journal: this.journal,
      rng: seededRng(this.#seed[0] ?? 1),
      now: this.now(),
    });
  }
}

/** Whoever is in the line can be reached by all the others. */
export class Line {
  readonly nodes: readonly CoreNode[];
  readonly frames: CarriedFrame[] = [];
  readonly effects: (readonly [CoreNode, NodeEffect])[] = [];

  constructor(...nodes: readonly CoreNode[]) {
    this.nodes = nodes;
    for (const node of nodes)
      this.carry(
        node,
        node.handle({ kind: 'listening', addresses: [`/ip4/192.0.2.${nodes.indexOf(node) + 1}/tcp/1`] }),
      );
    for (const [at, left] of nodes.entries())
      for (const right of nodes.slice(at + 1)) this.#connect(left, right);
    this.pass(2_000);
  }

  #connect(left: CoreNode, right: CoreNode): void {
    const address = '/ip4/192.0.2.9/tcp/1';
    // Both know of the connection before the first frame comes over it.
    const ends = [
      [left, left.handle({ kind: 'connected', peer: right.nodeId, address, direction: 'out' })],
      [right, right.handle({ kind: 'connected', peer: left.nodeId, address, direction: 'in' })],
    ] as const;
    for (const [node, effects] of ends) this.carry(node, effects);
  }

  carry(from: CoreNode, effects: readonly NodeEffect[]): void {
    const queue: [CoreNode, NodeEffect][] = effects.map((effect) => [from, effect]);
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const [sender, effect] = next;
      this.effects.push(next);
      if (effect.kind === 'disconnect') {
        const reason = effect.reason;
        for (const [one, peer] of [
          [sender, effect.peer],
          [this.#node(effect.peer), sender.nodeId],
        ] as const)
          if (one !== undefined)
            queue.push(
              ...one
                .handle({ kind: 'disconnected', peer, reason })
                .map((each) => [one, each] as [CoreNode, NodeEffect]),
            );
      }
      if (effect.kind !== 'send') continue;
      for (const to of effect.to) {
        const receiver = this.#node(to);
        const { channel, bytes } = effect as { channel: CarriedFrame['channel']; bytes: Uint8Array };
        this.frames.push({ from: sender.nodeId, to, channel, bytes });
        if (receiver === undefined) continue;
        const event = { kind: 'frame', from: sender.nodeId, channel, bytes } as const;
        queue.push(...receiver.handle(event).map((each) => [receiver, each] as [CoreNode, NodeEffect]));
      }
    }
  }

  /** Time goes on for all, in steps of `stepMs`. */
  pass(ms: number, stepMs = 100): void {
    for (let passed = 0; passed < ms; passed += stepMs)
      for (const node of this.nodes) {
        node.nowMs += stepMs;
        this.carry(node, node.expire());
      }
  }

  #node(id: NodeId): CoreNode | undefined {
    return this.nodes.find(({ nodeId }) => nodeId === id);
  }
}
