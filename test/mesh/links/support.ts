import { hkdf, nodeCryptography, signerFromSeed } from '../../../src/adapters/node/cryptography.ts';
import type { Incarnation, NodeId } from '../../../src/kernel/ids.ts';
import { seededRng } from '../../../src/kernel/rng.ts';
import type { Instant } from '../../../src/kernel/time.ts';
import { nodeIdFromPublicKey } from '../../../src/mesh/identity/peer-id.ts';
import { certifyMember, type Swarm, swarmFromSecret } from '../../../src/mesh/identity/swarm.ts';
import { Links, type LinksEffect, type LinksEvent } from '../../../src/mesh/links/links.ts';

export const NOON = Date.UTC(2026, 10, 21, 12);

export function swarmOf(secret: string): Swarm {
  const made = swarmFromSecret(secret, { hash: nodeCryptography.hash, hkdf, signerFromSeed });
  if (!made.ok) throw new Error(made.error.message);
  return made.value;
}

export const swarm = swarmOf('the secret of the swarm');

export function nodeIdOf(number: number): NodeId {
  return nodeIdFromPublicKey(signerFromSeed(new Uint8Array(32).fill(number)).publicKey);
}

export interface NodeOptions {
  readonly number: number;
  readonly swarm?: Swarm;
  readonly incarnation?: number;
  /** How far its wall clock is ahead of `NOON` at time 0. */
  readonly aheadMs?: number;
  /** When its certificate was issued, by `NOON`'s clock. */
  readonly issuedMs?: number;
}

/** One `Links` with a clock of its own, and all that it ordered. */
export class Node {
  readonly id: NodeId;
  readonly links: Links;
  readonly certificate: Uint8Array;
  readonly effects: LinksEffect[] = [];
  readonly #aheadMs: number;
  monoMs = 0;

  constructor(options: NodeOptions) {
    this.id = nodeIdOf(options.number);
    this.#aheadMs = options.aheadMs ?? 0;
    const own = options.swarm ?? swarm;
    this.certificate = certifyMember(
      own,
      { nodeId: this.id, name: `machine-${options.number}`, roles: ['worker'], zone: 'trusted', serial: 1 },
      { monoMs: 0, wallMs: options.issuedMs ?? NOON + this.#aheadMs },
    );
    this.links = new Links({
      self: this.id,
      config: {
        rootPublicKey: own.rootPublicKey,
        certificate: this.certificate,
        software: '0.1.0',
        incarnation: (options.incarnation ?? 1_000 + options.number) as Incarnation,
      },
      cryptography: nodeCryptography,
      rng: seededRng(1),
      now: this.now(),
    });
  }

  now(): Instant {
    return { monoMs: this.monoMs, wallMs: NOON + this.#aheadMs + this.monoMs };
  }

  handle(event: LinksEvent): readonly LinksEffect[] {
    return this.#note(this.links.handle(event, this.now()));
  }

  /** Lets time pass, stopping at each deadline on the way. */
  pass(ms: number): readonly LinksEffect[] {
    const untilMs = this.monoMs + ms;
    const effects: LinksEffect[] = [];
    for (let deadline = this.links.deadline(); deadline !== undefined; deadline = this.links.deadline()) {
      if (deadline.atMs > untilMs) break;
      this.monoMs = Math.max(this.monoMs, deadline.atMs);
      effects.push(...this.#note(this.links.expire(this.now())));
    }
    this.monoMs = untilMs;
    return effects;
  }

  of<Kind extends LinksEffect['kind']>(kind: Kind): Extract<LinksEffect, { kind: Kind }>[] {
    return this.effects.filter(
      (effect): effect is Extract<LinksEffect, { kind: Kind }> => effect.kind === kind,
    );
  }

  problems(): string[] {
    return this.links.problems().map((problem) => problem.code);
  }

  #note(effects: readonly LinksEffect[]): readonly LinksEffect[] {
    this.effects.push(...effects);
    return effects;
  }
}

/** Carries orders between two nodes until both are quiet. */
export function settle(one: Node, other: Node, pending: [Node, LinksEffect][]): void {
  for (let next = pending.shift(); next !== undefined; next = pending.shift()) {
    const [from, effect] = next;
    const to = from === one ? other : one;
    const deliver = (node: Node, event: LinksEvent) =>
      pending.push(...node.handle(event).map((made): [Node, LinksEffect] => [node, made]));
    if (effect.kind === 'send') {
      for (const target of effect.to)
        if (target === to.id)
          deliver(to, { kind: 'frame', from: from.id, channel: effect.channel, bytes: effect.bytes });
    }
    if (effect.kind === 'disconnect') {
      deliver(from, { kind: 'disconnected', peer: to.id, reason: effect.reason });
      deliver(to, { kind: 'disconnected', peer: from.id, reason: 'closed by the peer' });
    }
  }
}

/** `one` dials `other`, and both exchange what they want to. */
export function connect(one: Node, other: Node): void {
  const outgoing = one.handle({
    kind: 'connected',
    peer: other.id,
    address: '/ip4/192.0.2.2/tcp/7331',
    direction: 'out',
  });
  const incoming = other.handle({
    kind: 'connected',
    peer: one.id,
    address: '/ip4/192.0.2.1/tcp/50000',
    direction: 'in',
  });
  settle(one, other, [
    ...outgoing.map((effect): [Node, LinksEffect] => [one, effect]),
    ...incoming.map((effect): [Node, LinksEffect] => [other, effect]),
  ]);
}
