/**
 * Faults as data: a schedule is drawn from the seed before anything runs, so that it can be printed, cut down to what
 * matters, kept under `simulations/regressions`, and replayed.
 */
import type { Channel } from '../../src/kernel/effects.ts';
import type { Rng } from '../../src/kernel/rng.ts';
import { calmNetwork } from '../../src/sim/network.ts';
import type { Cluster } from './cluster.ts';
import { DISK_HEALTHY } from './host.ts';

export type Fault = { readonly atMs: number; readonly forMs: number } & (
  | {
      readonly kind: 'crash';
      readonly node: number;
      readonly how: 'kill' | 'power';
      /** What becomes of the disk; `restore` puts back an image from `agoMs` before, at most. */
      readonly disk: 'keep' | 'lose' | 'restore' | 'spoil';
    }
  | { readonly kind: 'leave'; readonly node: number }
  | { readonly kind: 'pause'; readonly node: number }
  | { readonly kind: 'partition'; readonly groups: readonly (readonly number[])[] }
  | { readonly kind: 'cut'; readonly from: number; readonly to: number }
  | { readonly kind: 'breakLink'; readonly from: number; readonly to: number }
  | {
      readonly kind: 'noise';
      readonly loss: number;
      readonly duplication: number;
      readonly reordering: number;
      readonly maxDelayMs: number;
    }
  | { readonly kind: 'slowDisk'; readonly node: number; readonly syncMs: number }
  | { readonly kind: 'failingDisk'; readonly node: number; readonly failing: 'full' | 'broken' }
  | { readonly kind: 'drift'; readonly node: number; readonly rate: number }
  | { readonly kind: 'clockStep'; readonly node: number; readonly byMs: number }
  | {
      readonly kind: 'forge';
      readonly from: number;
      readonly to: number;
      readonly channel: Channel;
      readonly how: 'noise' | 'flip' | 'cut' | 'replay';
    }
);

export type FaultKind = Fault['kind'];

/** How often each kind is drawn, relative to the others. */
export type FaultMix = Readonly<
  Partial<Record<FaultKind | 'loseDisk' | 'restoreDisk' | 'spoilDisk', number>>
>;

export interface FaultPlan {
  readonly mix: FaultMix;
  /** Mean time between two faults. */
  readonly everyMs: number;
  /** Longest single fault. */
  readonly longestMs: number;
}

export function drawFaults(rng: Rng, plan: FaultPlan, nodes: number, untilMs: number): readonly Fault[] {
  const kinds = Object.entries(plan.mix) as [keyof FaultMix, number][];
  const total = kinds.reduce((sum, [, weight]) => sum + weight, 0);
  const faults: Fault[] = [];
  if (total === 0) return faults;
  for (let atMs = plan.everyMs; atMs < untilMs; atMs += 2 * plan.everyMs * rng.float() + 1) {
    const kind = drawKind(kinds, rng.float() * total);
    // Short faults are drawn more often than long ones.
    const forMs = Math.min(untilMs - atMs, Math.ceil(plan.longestMs * rng.float() * rng.float()) + 50);
    faults.push(drawFault(rng, kind, nodes, { atMs: Math.round(atMs), forMs: Math.round(forMs) }));
  }
  return faults;
}

function drawKind(kinds: readonly [keyof FaultMix, number][], at: number): keyof FaultMix {
  let end = 0;
  for (const [kind, weight] of kinds) {
    end += weight;
    if (at < end) return kind;
  }
  throw new RangeError('drawKind: beyond the sum of the weights');
}

function drawFault(
  rng: Rng,
  kind: keyof FaultMix,
  nodes: number,
  when: { readonly atMs: number; readonly forMs: number },
): Fault {
  const node = rng.below(nodes);
  const from = rng.below(nodes);
  const to = (from + 1 + rng.below(Math.max(1, nodes - 1))) % nodes;
  const how = rng.chance(0.7) ? 'kill' : 'power';
  switch (kind) {
    case 'crash':
      return { kind, node, how, disk: 'keep', ...when };
    case 'loseDisk':
      return { kind: 'crash', node, how, disk: 'lose', ...when };
    case 'restoreDisk':
      return { kind: 'crash', node, how, disk: 'restore', ...when };
    case 'spoilDisk':
      return { kind: 'crash', node, how, disk: 'spoil', ...when };
    case 'leave':
    case 'pause':
      return { kind, node, ...when };
    case 'partition':
      return { kind, groups: drawGroups(rng, nodes), ...when };
    case 'cut':
    case 'breakLink':
      return { kind, from, to, ...when };
    case 'noise':
      return {
        kind,
        loss: rng.float() * 0.4,
        duplication: rng.float() * 0.5,
        reordering: rng.float() * 0.3,
        maxDelayMs: 1 + rng.float() * 150,
        ...when,
      };
    case 'slowDisk':
      return { kind, node, syncMs: 20 + rng.float() * 1_500, ...when };
    case 'failingDisk':
      return { kind, node, failing: rng.chance(0.5) ? 'full' : 'broken', ...when };
    case 'drift':
      return { kind, node, rate: 1 + (rng.float() - 0.5) * 0.04, ...when };
    case 'clockStep':
      return { kind, node, byMs: Math.round((rng.float() - 0.5) * 40_000), ...when };
    case 'forge':
      return {
        kind,
        from,
        to,
        channel: rng.pick(['mesh', 'records', 'board', 'hello', 'quorum'] as const),
        how: rng.pick(['noise', 'flip', 'cut', 'replay'] as const),
        ...when,
      };
  }
}

function drawGroups(rng: Rng, nodes: number): readonly (readonly number[])[] {
  const shuffled = rng.shuffled(Array.from({ length: nodes }, (_, index) => index));
  const at = 1 + rng.below(Math.max(1, nodes - 1));
  return [shuffled.slice(0, at), shuffled.slice(at)];
}

/** Frames that were really sent, for forgers to bend. */
const REMEMBERED_FRAMES = 64;

/** Carries out a schedule on a cluster; `stop` at the latest before healing. */
export class FaultInjector {
  readonly #cluster: Cluster;
  readonly #rng: Rng;
  readonly #frames = new Map<Channel, Uint8Array[]>();
  readonly #cancels: (() => void)[] = [];
  readonly #onDiskReplaced: (node: number) => void;
  /** Images of each disk, oldest first, for `restore`. */
  readonly #images = new Map<number, unknown[]>();
  #stopped = false;

  /** `onDiskReplaced` is told just before a disk loses what it held. */
  constructor(cluster: Cluster, faults: readonly Fault[], onDiskReplaced: (node: number) => void) {
    this.#cluster = cluster;
    this.#rng = cluster.rng.fork();
    this.#onDiskReplaced = onDiskReplaced;
    for (const fault of faults) this.#at(fault.atMs, () => this.#begin(fault));
    if (faults.some((fault) => fault.kind === 'forge')) this.#rememberFrames();
    if (faults.some((fault) => fault.kind === 'crash' && fault.disk === 'restore')) this.#keepImages();
  }

  stop(): void {
    this.#stopped = true;
    for (const cancel of this.#cancels) cancel();
  }

  #at(atMs: number, callback: () => void): void {
    this.#cancels.push(this.#cluster.scheduler.at(atMs, callback));
  }

  #afterwards(fault: Fault, callback: () => void): void {
    this.#at(fault.atMs + fault.forMs, callback);
  }

  #begin(fault: Fault): void {
    const { trace, nowMs } = this.#cluster;
    trace.note(nowMs, 'fault', fault);
    switch (fault.kind) {
      case 'crash':
        this.#crash(fault);
        break;
      case 'leave':
      case 'pause':
        this.#away(fault);
        break;
      case 'partition':
      case 'cut':
      case 'breakLink':
      case 'noise':
        this.#network(fault);
        break;
      case 'slowDisk':
      case 'failingDisk':
        this.#disk(fault);
        break;
      case 'drift':
      case 'clockStep':
        this.#clock(fault);
        break;
      case 'forge':
        this.#forge(fault);
        break;
    }
  }

  #crash(fault: Extract<Fault, { kind: 'crash' }>): void {
    const machine = this.#cluster.machine(fault.node);
    if (machine.state === 'dead') return;
    if (fault.disk !== 'keep') this.#onDiskReplaced(fault.node);
    machine.crash(fault.how);
    if (fault.disk === 'lose') machine.image.lose();
    if (fault.disk === 'spoil') machine.image.spoil(this.#rng);
    if (fault.disk === 'restore') {
      const image = this.#images.get(fault.node)?.[0];
      if (image !== undefined) machine.image.restore(image);
    }
    this.#afterwards(fault, () => machine.start());
  }

  #away(fault: Extract<Fault, { kind: 'leave' | 'pause' }>): void {
    const machine = this.#cluster.machine(fault.node);
    if (machine.state !== 'running') return;
    if (fault.kind === 'leave') machine.stop();
    else machine.pause();
    this.#afterwards(fault, () => (fault.kind === 'leave' ? machine.start() : machine.resume()));
  }

  #network(fault: Extract<Fault, { kind: 'partition' | 'cut' | 'breakLink' | 'noise' }>): void {
    const { network, networkConditions } = this.#cluster;
    const idOf = (node: number) => this.#cluster.machine(node).nodeId;
    if (fault.kind === 'partition') {
      network.partition(fault.groups.map((group) => group.map(idOf)));
      this.#afterwards(fault, () => network.mendAll());
    } else if (fault.kind === 'cut') {
      network.cut(idOf(fault.from), idOf(fault.to));
      this.#afterwards(fault, () => network.mend(idOf(fault.from), idOf(fault.to)));
    } else if (fault.kind === 'breakLink') network.breakConnections(idOf(fault.from), idOf(fault.to));
    else {
      const { loss, duplication, reordering, maxDelayMs } = fault;
      Object.assign(networkConditions, { loss, duplication, reordering, maxDelayMs });
      this.#afterwards(fault, () => Object.assign(networkConditions, calmNetwork));
    }
  }

  #disk(fault: Extract<Fault, { kind: 'slowDisk' | 'failingDisk' }>): void {
    const { diskConditions } = this.#cluster.machine(fault.node);
    if (fault.kind === 'slowDisk') diskConditions.maxSyncMs = fault.syncMs;
    else diskConditions.failing = fault.failing;
    this.#afterwards(fault, () => Object.assign(diskConditions, DISK_HEALTHY));
  }

  #clock(fault: Extract<Fault, { kind: 'drift' | 'clockStep' }>): void {
    const { time } = this.#cluster.machine(fault.node);
    if (fault.kind === 'drift') time.setRate(fault.rate);
    else time.step(fault.byMs);
    this.#afterwards(fault, () => {
      time.setRate(1);
      time.correct();
    });
  }

  /** A member sends what no honest node would: bytes of its own, or real frames bent, cut short or sent again. */
  #forge(fault: Extract<Fault, { kind: 'forge' }>): void {
    const { network } = this.#cluster;
    const bytes = this.#forged(fault.channel, fault.how);
    const [from, to] = [this.#cluster.machine(fault.from).nodeId, this.#cluster.machine(fault.to).nodeId];
    network.inject({ from, to, channel: fault.channel, bytes });
  }

  #forged(channel: Channel, how: Extract<Fault, { kind: 'forge' }>['how']): Uint8Array {
    const rng = this.#rng;
    const noise = () => Uint8Array.from({ length: 1 + rng.below(200) }, () => rng.below(256));
    const frames = this.#frames.get(channel) ?? [];
    if (how === 'noise' || frames.length === 0) return noise();
    const frame = rng.pick(frames).slice();
    if (how === 'cut') return frame.slice(0, rng.below(frame.length + 1));
    if (how === 'flip') {
      const at = rng.below(Math.max(1, frame.length));
      frame[at] = (frame[at] ?? 0) ^ (1 << rng.below(8));
    }
    return frame;
  }

  #rememberFrames(): void {
    this.#cluster.onEffect.push((_machine, effect) => {
      if (effect.kind !== 'send') return;
      const frames = this.#frames.get(effect.channel) ?? [];
      if (frames.length === 0) this.#frames.set(effect.channel, frames);
      frames.push(effect.bytes);
      if (frames.length > REMEMBERED_FRAMES) frames.shift();
    });
  }

  #keepImages(): void {
    const keep = () => {
      if (this.#stopped) return;
      for (const machine of this.#cluster.machines) {
        const images = this.#images.get(machine.index) ?? [];
        this.#images.set(machine.index, images);
        images.push(machine.image.snapshot());
        if (images.length > 3) images.shift();
      }
      this.#cancels.push(this.#cluster.scheduler.after(5_000, keep));
    };
    keep();
  }
}
