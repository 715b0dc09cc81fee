/** A network of anti-entropy machines in virtual time: what the tests of this folder share. */
import type { PeerDown, PeerUp, Received, Send } from '../../src/kernel/effects.ts';
import type { NodeId } from '../../src/kernel/ids.ts';
import type { Machine } from '../../src/kernel/machine.ts';
import type { Rng } from '../../src/kernel/rng.ts';
import type { Instant } from '../../src/kernel/time.ts';

export const WALL_MS = 1_800_000_000_000;
export const at = (monoMs: number): Instant => ({ monoMs, wallMs: WALL_MS + monoMs });

const ALPHABET = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz';
/** A well-formed node id that sorts by `number`. */
export function nodeId(number: number): NodeId {
  let digits = '';
  for (let rest = number; digits.length < 44; rest = Math.floor(rest / 58)) {
    digits = `${ALPHABET[rest % 58]}${digits}`;
  }
  return `12D3KooW${digits}` as NodeId;
}

export interface Faults {
  loss: number;
  duplicate: number;
  minDelayMs: number;
  maxDelayMs: number;
}
export const CALM: Faults = { loss: 0, duplicate: 0, minDelayMs: 1, maxDelayMs: 1 };

type AnyEffect = { readonly kind: string };
export interface Frame {
  readonly from: NodeId;
  readonly to: NodeId;
  readonly bytes: Uint8Array;
}

/** Carries frames between machines and wakes them; effects other than `send` are kept for the test to look at. */
export class Network<M extends Machine<never, AnyEffect>> {
  readonly nodes = new Map<NodeId, M>();
  readonly effects: { readonly node: NodeId; readonly effect: AnyEffect }[] = [];
  /** Every frame handed to the network, lost ones too. */
  readonly sent: Frame[] = [];
  faults: Faults = CALM;
  nowMs = 1_000;
  readonly #rng: Rng;
  readonly #links = new Set<string>();
  readonly #flying: (Frame & { readonly atMs: number; readonly order: number })[] = [];
  #order = 0;

  constructor(rng: Rng) {
    this.#rng = rng;
  }

  get now(): Instant {
    return at(this.nowMs);
  }

  add(id: NodeId, machine: M): M {
    this.nodes.set(id, machine);
    return machine;
  }

  connect(left: NodeId, right: NodeId): void {
    if (this.#links.has(`${left} ${right}`)) return;
    this.#links.add(`${left} ${right}`).add(`${right} ${left}`);
    this.tell(left, { kind: 'peerUp', peer: right });
    this.tell(right, { kind: 'peerUp', peer: left });
  }

  connectAll(): void {
    const ids = [...this.nodes.keys()];
    for (const [index, left] of ids.entries())
      for (const right of ids.slice(index + 1)) this.connect(left, right);
  }

  disconnect(left: NodeId, right: NodeId): void {
    if (!this.#links.delete(`${left} ${right}`)) return;
    this.#links.delete(`${right} ${left}`);
    this.tell(left, { kind: 'peerDown', peer: right, reason: 'test' });
    this.tell(right, { kind: 'peerDown', peer: left, reason: 'test' });
  }

  tell(
    id: NodeId,
    event: PeerUp | PeerDown | Received | { readonly kind: string; readonly peer?: NodeId },
  ): void {
    const machine = this.nodes.get(id);
    if (machine !== undefined) this.carry(id, machine.handle(event as never, this.now));
  }

  carry(from: NodeId, effects: readonly AnyEffect[]): void {
    for (const effect of effects) {
      if (effect.kind !== 'send') {
        this.effects.push({ node: from, effect });
        continue;
      }
      const { to, bytes } = effect as Send;
      for (const peer of to) this.#fly({ from, to: peer, bytes });
    }
  }

  /** Runs until `until` (checked between events), at most `forMs` of virtual time; says whether it came true. */
  run(forMs: number, until: () => boolean = () => false): boolean {
    const endMs = this.nowMs + forMs;
    for (;;) {
      if (until()) return true;
      const next = this.#next();
      if (next === undefined || next > endMs) break;
      this.nowMs = Math.max(this.nowMs, next);
      this.#step();
    }
    this.nowMs = endMs;
    return until();
  }

  count(kind: string): number {
    return this.effects.filter(({ effect }) => effect.kind === kind).length;
  }

  #fly(frame: Frame): void {
    this.sent.push(frame);
    const { loss, duplicate, minDelayMs, maxDelayMs } = this.faults;
    const copies = this.#rng.chance(duplicate) ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      if (this.#rng.chance(loss)) continue;
      const delayMs = minDelayMs + this.#rng.float() * (maxDelayMs - minDelayMs);
      this.#flying.push({ ...frame, atMs: this.nowMs + delayMs, order: this.#order++ });
    }
  }

  #next(): number | undefined {
    let next: number | undefined;
    for (const { atMs } of this.#flying) if (next === undefined || atMs < next) next = atMs;
    for (const machine of this.nodes.values()) {
      const deadline = machine.deadline()?.atMs;
      if (deadline !== undefined && (next === undefined || deadline < next)) next = deadline;
    }
    return next;
  }

  #step(): void {
    const due = this.#flying.filter(({ atMs }) => atMs <= this.nowMs);
    due.sort((left, right) => left.atMs - right.atMs || left.order - right.order);
    for (const frame of due) {
      this.#flying.splice(this.#flying.indexOf(frame), 1);
      if (!this.#links.has(`${frame.from} ${frame.to}`)) continue;
      this.tell(frame.to, { kind: 'received', from: frame.from, bytes: frame.bytes });
    }
    for (const [id, machine] of this.nodes) {
      const deadline = machine.deadline();
      if (deadline !== undefined && deadline.atMs <= this.nowMs) this.carry(id, machine.expire(this.now));
    }
  }
}
