/** A cluster of membership machines on a virtual clock: loss, delay, pauses, cut directions, kills. One seed decides all. */
import { createHash } from 'node:crypto';
import type { NodeId } from '../../../src/kernel/ids.ts';
import { type Rng, seededRng } from '../../../src/kernel/rng.ts';
import type { Instant } from '../../../src/kernel/time.ts';
import type { MembershipConfig } from '../../../src/mesh/membership/config.ts';
import type { MembershipEffect, MembershipEvent } from '../../../src/mesh/membership/events.ts';
import { Membership } from '../../../src/mesh/membership/membership.ts';
import type { MemberState } from '../../../src/mesh/view.ts';

const ALPHABET = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz';

/** The `index`th node id: well-formed, in no particular order of the ring. */
export function nodeId(index: number): NodeId {
  const digest = createHash('sha256').update(`node ${index}`).digest();
  let text = '';
  for (let at = 0; at < 44; at++) text += ALPHABET[(digest[at % 32]! + at) % 58];
  return `12D3KooW${text}` as NodeId;
}

/** 2026-01-01. */
export const WALL_ZERO_MS = 1_767_225_600_000;

export function at(ms: number): Instant {
  return { monoMs: ms, wallMs: WALL_ZERO_MS + ms };
}

export interface Change {
  readonly atMs: number;
  readonly at: NodeId;
  readonly member: NodeId;
  readonly state: MemberState;
  readonly was: MemberState | undefined;
}

interface Node {
  readonly id: NodeId;
  machine: Membership;
  running: boolean;
  pausedUntilMs: number;
  wakeMs: number;
  readonly backlog: MembershipEvent[];
}

export class Cluster {
  nowMs = 0;
  loss = 0;
  /** What no one may do, as `from>to`. */
  readonly cut = new Set<string>();
  readonly changes: Change[] = [];
  readonly penalised: { readonly by: NodeId; readonly peer: NodeId }[] = [];
  frames = 0;
  bytes = 0;
  readonly ids: readonly NodeId[];
  onChange: (change: Change) => void = () => {};
  readonly #nodes = new Map<NodeId, Node>();
  readonly #links = new Set<string>();
  readonly #rng: Rng;
  readonly #config: Partial<MembershipConfig>;
  readonly #agenda = new Agenda();
  #digest = createHash('sha256');

  constructor(options: { nodes: number; seed: number; loss?: number; config?: Partial<MembershipConfig> }) {
    this.#rng = seededRng(options.seed);
    this.#config = options.config ?? {};
    this.loss = options.loss ?? 0;
    this.ids = Array.from({ length: options.nodes }, (_, index) => nodeId(index));
    for (const id of this.ids) this.start(id);
    for (const id of this.ids) for (const other of this.ids) if (id < other) this.link(id, other);
  }

  /** A hash over every effect so far, in order. */
  trace(): string {
    return this.#digest.copy().digest('hex');
  }

  machine(id: NodeId): Membership {
    return this.#node(id).machine;
  }

  start(id: NodeId): void {
    const machine = new Membership({
      self: id,
      config: this.#config,
      rng: this.#rng.fork(),
      now: at(this.nowMs),
    });
    const node = { id, machine, running: true, pausedUntilMs: 0, wakeMs: -1, backlog: [] };
    this.#nodes.set(id, node);
    this.#schedule(node);
  }

  link(a: NodeId, b: NodeId): void {
    this.#links.add(`${a}>${b}`).add(`${b}>${a}`);
    this.give(a, { kind: 'peerUp', peer: b });
    this.give(b, { kind: 'peerUp', peer: a });
  }

  unlink(a: NodeId, b: NodeId, reason = 'closed'): void {
    if (!this.#links.delete(`${a}>${b}`)) return;
    this.#links.delete(`${b}>${a}`);
    this.#later(this.#rng.float() * 10, () => this.give(a, { kind: 'peerDown', peer: b, reason }));
    this.#later(this.#rng.float() * 10, () => this.give(b, { kind: 'peerDown', peer: a, reason }));
  }

  /** kill -9: the kernel closes its connections. */
  kill(id: NodeId): void {
    this.#node(id).running = false;
    for (const other of this.ids) if (other !== id) this.unlink(id, other);
  }

  /** SIGSTOP for `ms`; what arrives meanwhile waits. */
  pause(id: NodeId, ms: number): void {
    const node = this.#node(id);
    node.pausedUntilMs = Math.max(node.pausedUntilMs, this.nowMs + ms);
    if (ms < 1e12) this.#later(ms, () => this.#wake(node));
  }

  freeze(id: NodeId): void {
    this.pause(id, 1e15);
  }

  leave(id: NodeId): void {
    const node = this.#node(id);
    this.#perform(node, node.machine.leave(at(this.nowMs)));
    node.running = false;
    this.#later(20, () => {
      for (const other of this.ids) if (other !== id) this.unlink(id, other, 'left');
    });
  }

  give(id: NodeId, event: MembershipEvent): void {
    const node = this.#node(id);
    if (!node.running) return;
    if (node.pausedUntilMs > this.nowMs) {
      node.backlog.push(event);
      return;
    }
    this.#perform(node, node.machine.handle(event, at(this.nowMs)));
    this.#schedule(node);
  }

  /** Runs `action` at that time of the virtual clock. */
  plan(atMs: number, action: () => void): void {
    this.#agenda.add(atMs, action);
  }

  runFor(ms: number): void {
    const endMs = this.nowMs + ms;
    for (;;) {
      const next = this.#agenda.takeUntil(endMs);
      if (next === undefined) break;
      this.nowMs = Math.max(this.nowMs, next.atMs);
      next.action();
    }
    this.nowMs = endMs;
  }

  /** Virtual time until `holds`, looked at every millisecond; throws after `withinMs`. */
  runUntil(holds: () => boolean, withinMs: number): number {
    const startMs = this.nowMs;
    while (!holds()) {
      if (this.nowMs - startMs >= withinMs) throw new Error(`not within ${withinMs} ms of virtual time`);
      this.runFor(1);
    }
    return this.nowMs - startMs;
  }

  everyoneSees(member: NodeId, state: MemberState): boolean {
    return [...this.#nodes.values()].every(
      (node) => node.id === member || !node.running || node.machine.stateOf(member) === state,
    );
  }

  #node(id: NodeId): Node {
    return this.#nodes.get(id)!;
  }

  #wake(node: Node): void {
    if (node.pausedUntilMs > this.nowMs || !node.running) return;
    // Like an event loop after SIGCONT: overdue timers first, then what lies in the sockets.
    this.#perform(node, node.machine.expire(at(this.nowMs)));
    for (const event of node.backlog.splice(0)) {
      this.#perform(node, node.machine.handle(event, at(this.nowMs)));
    }
    this.#schedule(node);
  }

  #schedule(node: Node): void {
    const wanted = node.machine.deadline();
    if (wanted === undefined) return;
    const wakeMs = Math.max(wanted.atMs, this.nowMs);
    if (node.wakeMs >= this.nowMs && node.wakeMs <= wakeMs) return;
    node.wakeMs = wakeMs;
    const machine = node.machine;
    this.#agenda.add(wakeMs, () => {
      if (node.machine !== machine || !node.running || node.pausedUntilMs > this.nowMs) return;
      if (node.wakeMs !== wakeMs) return;
      node.wakeMs = -1;
      this.#perform(node, machine.expire(at(this.nowMs)));
      this.#schedule(node);
    });
  }

  #later(ms: number, action: () => void): void {
    this.#agenda.add(this.nowMs + ms, action);
  }

  #perform(node: Node, effects: readonly MembershipEffect[]): void {
    for (const effect of effects) {
      if (effect.kind === 'send') {
        this.#digest.update(effect.bytes);
        for (const to of effect.to) this.#transmit(node.id, to, effect.bytes);
      } else if (effect.kind === 'memberChanged') {
        const change = {
          atMs: this.nowMs,
          at: node.id,
          member: effect.member,
          state: effect.state,
          was: effect.was,
        };
        this.#digest.update(JSON.stringify(change));
        this.changes.push(change);
        this.onChange(change);
      } else if (effect.kind === 'penalise') {
        this.penalised.push({ by: node.id, peer: effect.peer });
      }
    }
  }

  #transmit(from: NodeId, to: NodeId, bytes: Uint8Array): void {
    this.frames++;
    this.bytes += bytes.length;
    const way = `${from}>${to}`;
    if (!this.#links.has(way) || this.cut.has(way) || this.#rng.chance(this.loss)) return;
    this.#later(0.2 + 1.8 * this.#rng.float(), () => {
      if (this.#links.has(way)) this.give(to, { kind: 'received', from, bytes });
    });
  }
}

/** What is to be done when: a binary heap, ties in the order of adding. */
class Agenda {
  readonly #heap: { atMs: number; order: number; action: () => void }[] = [];
  #order = 0;

  add(atMs: number, action: () => void): void {
    const heap = this.#heap;
    let place = heap.push({ atMs, order: this.#order++, action }) - 1;
    while (place > 0) {
      const parent = (place - 1) >> 1;
      if (!this.#before(place, parent)) break;
      [heap[place], heap[parent]] = [heap[parent]!, heap[place]!];
      place = parent;
    }
  }

  takeUntil(endMs: number): { atMs: number; action: () => void } | undefined {
    const heap = this.#heap;
    const first = heap[0];
    if (first === undefined || first.atMs > endMs) return undefined;
    const last = heap.pop()!;
    if (heap.length === 0) return first;
    heap[0] = last;
    for (let place = 0; ; ) {
      let least = place;
      for (const child of [2 * place + 1, 2 * place + 2]) {
        if (child < heap.length && this.#before(child, least)) least = child;
      }
      if (least === place) return first;
      [heap[place], heap[least]] = [heap[least]!, heap[place]!];
      place = least;
    }
  }

  #before(a: number, b: number): boolean {
    const left = this.#heap[a]!;
    const right = this.#heap[b]!;
    return left.atMs < right.atMs || (left.atMs === right.atMs && left.order < right.order);
  }
}
