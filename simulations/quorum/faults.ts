/**
 * Faults of a world that runs only the quorum store, as data: drawn from the seed before the run, so that a failing
 * schedule can be printed, cut down and kept.
 */
import type { NodeId } from '../../src/kernel/ids.ts';
import type { Rng } from '../../src/kernel/rng.ts';
import { decodeFrame } from '../../src/quorum/frames.ts';
import { nodeOf, serverIdOf } from '../../src/quorum/server.ts';
import { wishKey, wishValue } from '../../src/quorum/voters/voter-wishes.ts';
import { drawSchedule, flap, type SchedulePlan, type When } from '../lib/fault-schedule.ts';
import { DISK_HEALTHY } from '../lib/host.ts';
import type { QuorumMachine } from './machine.ts';
import type { QuorumWorld } from './world.ts';

/** A machine by its index, or whoever leads when the fault strikes. */
type Target = number | 'leader';

export type QuorumFault = { readonly atMs: number; readonly forMs: number } & (
  | { readonly kind: 'crash'; readonly node: Target; readonly how: 'kill' | 'power' }
  | { readonly kind: 'crashAll'; readonly how: 'kill' | 'power' }
  /** The disk comes back empty, spoilt, or as it was some seconds before. */
  | { readonly kind: 'disk'; readonly node: Target; readonly becomes: 'lost' | 'spoilt' | 'old' }
  | { readonly kind: 'pause'; readonly node: Target }
  | { readonly kind: 'partition'; readonly groups: readonly (readonly number[])[] }
  | { readonly kind: 'isolate'; readonly node: Target; readonly hears: boolean; readonly isHeard: boolean }
  /** Whoever leads is cut off, and its clock goes half as fast: it believes to lead for longer than it does. */
  | { readonly kind: 'leftBehind'; readonly rate: number }
  /** The same with one voter beside it, of five or more: both keep to the term that the others leave. */
  | { readonly kind: 'leftTogether'; readonly rate: number }
  /** All freeze and stand at once; one who voted, and was asked by another too, falls over, comes back, and is asked again. */
  | { readonly kind: 'askedAgain' }
  | { readonly kind: 'cut'; readonly from: number; readonly to: number }
  /** Every node sees a majority, and no two the same one (K22). */
  | { readonly kind: 'ring' }
  /** Two halves that only one node sees both of (K23). */
  | { readonly kind: 'bridge'; readonly node: number }
  /** A link that is cut and mended, a second each (K23). */
  | { readonly kind: 'flapping'; readonly from: number; readonly to: number }
  | { readonly kind: 'breakLink'; readonly from: number; readonly to: number }
  /** Whoever leads hands over to another voter, by its own choice (dissertation, 3.10). */
  | { readonly kind: 'transfer'; readonly to: number }
  /** The machine comes back with another version of the program, which understands formats up to this one (K45). */
  | { readonly kind: 'version'; readonly node: Target; readonly format: number }
  /** On the way of one to another bits flip; the encryption of a link notices, and ends it. */
  | { readonly kind: 'bitFlips'; readonly from: number; readonly to: number; readonly chance: number }
  | {
      readonly kind: 'noise';
      readonly loss: number;
      readonly duplication: number;
      readonly reordering: number;
      readonly maxDelayMs: number;
    }
  | { readonly kind: 'slowDisk'; readonly node: Target; readonly syncMs: number }
  | { readonly kind: 'failingDisk'; readonly node: Target; readonly failing: 'full' | 'broken' }
  | { readonly kind: 'drift'; readonly node: Target; readonly rate: number }
  | { readonly kind: 'clockStep'; readonly node: Target; readonly byMs: number }
  /** A person asks for a voter, or against one. */
  | { readonly kind: 'wish'; readonly node: Target; readonly wish: 'always' | 'never' | 'none' }
  /** A member sends noise, cut frames, and real ones of long ago again. */
  | {
      readonly kind: 'forge';
      readonly from: number;
      readonly to: number;
      readonly how: 'noise' | 'cut' | 'replay';
    }
);

export type QuorumFaultKind = QuorumFault['kind'];
export type QuorumFaultMix = Readonly<Partial<Record<QuorumFaultKind, number>>>;

export type QuorumFaultPlan = SchedulePlan<QuorumFaultKind>;

/** None before `fromMs`: the store is founded first. */
export function drawQuorumFaults(
  rng: Rng,
  plan: QuorumFaultPlan,
  nodes: number,
  fromMs: number,
  untilMs: number,
): readonly QuorumFault[] {
  return drawSchedule(rng, plan, fromMs, untilMs, (kind, when) => drawFault(rng, kind, nodes, when));
}

function drawFault(rng: Rng, kind: QuorumFaultKind, nodes: number, when: When): QuorumFault {
  const node: Target = rng.chance(0.4) ? 'leader' : rng.below(nodes);
  const from = rng.below(nodes);
  const to = (from + 1 + rng.below(Math.max(1, nodes - 1))) % nodes;
  const how = rng.chance(0.6) ? 'kill' : 'power';
  switch (kind) {
    case 'crash':
      return { kind, node, how, ...when };
    case 'crashAll':
      return { kind, how, ...when };
    case 'disk':
      return { kind, node, becomes: rng.pick(['lost', 'spoilt', 'old'] as const), ...when };
    case 'pause':
      return { kind, node, ...when };
    case 'partition': {
      const shuffled = rng.shuffled(Array.from({ length: nodes }, (_, index) => index));
      const at = 1 + rng.below(Math.max(1, nodes - 1));
      return { kind, groups: [shuffled.slice(0, at), shuffled.slice(at)], ...when };
    }
    case 'isolate': {
      const way = rng.below(3);
      return { kind, node, hears: way === 1, isHeard: way === 2, ...when };
    }
    case 'leftBehind':
    case 'leftTogether':
      return { kind, rate: 0.5, ...when };
    case 'ring':
    case 'askedAgain':
      return { kind, ...when };
    case 'bridge':
      return { kind, node: from, ...when };
    case 'cut':
    case 'flapping':
    case 'breakLink':
      return { kind, from, to, ...when };
    case 'transfer':
      return { kind, to, ...when };
    case 'version':
      return { kind, node, format: rng.pick([1, 2, 2, 3]), ...when };
    case 'bitFlips':
      return { kind, from, to, chance: 0.02 + 0.2 * rng.float(), ...when };
    case 'noise':
      return {
        kind,
        loss: rng.float() * 0.3,
        duplication: rng.float() * 0.5,
        reordering: rng.float() * 0.3,
        maxDelayMs: 1 + rng.float() * 100,
        ...when,
      };
    case 'slowDisk':
      return { kind, node, syncMs: 20 + rng.float() * 1_500, ...when };
    case 'failingDisk':
      return { kind, node, failing: rng.chance(0.5) ? 'full' : 'broken', ...when };
    case 'drift':
      return { kind, node, rate: rng.chance(0.5) ? 0.5 + rng.float() * 0.5 : 1 + rng.float(), ...when };
    case 'clockStep':
      return { kind, node, byMs: Math.round((rng.float() - 0.5) * 7_200_000), ...when };
    case 'wish':
      return { kind, node, wish: rng.pick(['always', 'never', 'never', 'none'] as const), ...when };
    case 'forge':
      return { kind, from, to, how: rng.pick(['noise', 'cut', 'replay', 'replay'] as const), ...when };
  }
}

const REMEMBERED_FRAMES = 200;
const REMEMBERED_VOTES = 30;
/** Longer than any election timeout. */
export const FROZEN_MS = 1_300;
const VOTE_BYTES = 48;
/** For so long a voter that fell over is asked again. */
const AGAIN_MS = 1_500;
const IMAGE_EVERY_MS = 2_000;

interface SentFrame {
  readonly from: QuorumMachine;
  readonly to: string;
  readonly bytes: Uint8Array;
}

/** Carries out a schedule; `stop` at the latest before healing. */
export class QuorumFaultInjector {
  /** How many of each kind struck. */
  readonly struck: Partial<Record<QuorumFaultKind, number>> = {};
  readonly #world: QuorumWorld;
  readonly #rng: Rng;
  readonly #frames: SentFrame[] = [];
  readonly #images = new Map<QuorumMachine, unknown[]>();
  readonly #cancels: (() => void)[] = [];
  readonly #asked: (SentFrame & { readonly term: number })[] = [];
  /** By voter and term: for whom. */
  readonly #votes = new Map<string, NodeId>();
  #armedUntilMs = Number.NEGATIVE_INFINITY;
  #disksLost = 0;

  constructor(world: QuorumWorld, faults: readonly QuorumFault[]) {
    this.#world = world;
    this.#rng = world.rng.fork();
    for (const fault of faults) this.#at(fault.atMs, () => this.#begin(fault));
    if (faults.some(({ kind }) => kind === 'forge')) this.#rememberFrames();
    if (faults.some(({ kind }) => kind === 'askedAgain')) this.#rememberVotes();
    if (faults.some((fault) => fault.kind === 'disk' && fault.becomes === 'old')) this.#keepImages();
  }

  stop(): void {
    for (const cancel of this.#cancels) cancel();
  }

  #at(atMs: number, callback: () => void): void {
    this.#cancels.push(this.#world.scheduler.at(atMs, callback));
  }

  #afterwards(fault: QuorumFault, callback: () => void): void {
    this.#at(fault.atMs + fault.forMs, callback);
  }

  #begin(fault: QuorumFault): void {
    const target = 'node' in fault ? this.#target(fault.node) : this.#world.machine(0);
    if (target === undefined) return;
    this.#world.trace.note(this.#world.nowMs, 'fault', fault);
    if (!this.#strike(fault, target)) return;
    this.struck[fault.kind] = (this.struck[fault.kind] ?? 0) + 1;
  }

  #target(target: Target): QuorumMachine | undefined {
    return target === 'leader' ? this.#world.leader : this.#world.machine(target);
  }

  /** False where there was nothing to strike. */
  #strike(fault: QuorumFault, target: QuorumMachine): boolean {
    switch (fault.kind) {
      case 'crash':
        return this.#crash(fault, [target], fault.how);
      case 'crashAll':
        return this.#crash(fault, this.#world.machines, fault.how);
      case 'disk':
        return this.#replaceDisk(fault, target);
      case 'pause':
        if (target.state !== 'running') return false;
        target.pause();
        this.#afterwards(fault, () => target.resume());
        return true;
      case 'slowDisk':
      case 'failingDisk':
        if (fault.kind === 'slowDisk') target.diskConditions.maxSyncMs = fault.syncMs;
        else target.diskConditions.failing = fault.failing;
        this.#afterwards(fault, () => Object.assign(target.diskConditions, DISK_HEALTHY));
        return true;
      case 'drift':
        target.time.setRate(fault.rate);
        this.#afterwards(fault, () => target.time.setRate(1));
        return true;
      case 'clockStep':
        target.time.step(fault.byMs);
        return true;
      case 'wish':
        return this.#wish(fault, target);
      case 'forge':
        return this.#forge(fault);
      case 'noise': {
        const { loss, duplication, reordering, maxDelayMs } = fault;
        Object.assign(this.#world.conditions, { loss, duplication, reordering, maxDelayMs });
        this.#afterwards(fault, () => this.#world.calm());
        return true;
      }
      case 'leftBehind':
        return this.#leaveBehind(fault, []);
      case 'leftTogether':
        return this.#leaveTogether(fault);
      case 'askedAgain':
        return this.#askAgain(fault);
      case 'flapping':
        return this.#flap(fault);
      case 'transfer': {
        const { leader } = this.#world;
        const target = this.#world.machine(fault.to).quorum?.replica?.server;
        return leader !== undefined && target !== undefined && leader.handOver(target);
      }
      case 'version':
        target.newestFormat = fault.format;
        this.#world.newestFormat = Math.max(this.#world.newestFormat, fault.format);
        return this.#crash(fault, [target], 'kill');
      case 'bitFlips':
        return this.#flipBits(fault);
      case 'breakLink':
        this.#world.network.breakConnections(this.#id(fault.from), this.#id(fault.to));
        return true;
      default:
        return this.#cut(fault, this.#cutsOf(fault, target.index));
    }
  }

  #crash(fault: QuorumFault, targets: readonly QuorumMachine[], how: 'kill' | 'power'): boolean {
    const running = targets.filter(({ state }) => state !== 'dead');
    for (const machine of running) {
      machine.crash(how);
      this.#afterwards(fault, () => machine.start());
    }
    return running.length > 0;
  }

  /** One disk in a run at most, and of three voters or more: else the majority may be lost for good. */
  #replaceDisk(fault: Extract<QuorumFault, { kind: 'disk' }>, target: QuorumMachine): boolean {
    const voters = this.#world.leader?.quorum?.replica?.raft.committedConfiguration;
    const isSafe = voters !== undefined && voters.outgoing.length === 0 && voters.incoming.length >= 3;
    if (this.#disksLost > 0 || !isSafe || target.state === 'dead') return false;
    this.#disksLost += 1;
    target.hasNewDisk = true;
    target.crash('power');
    const [old] = this.#images.get(target) ?? [];
    if (fault.becomes === 'lost' || (fault.becomes === 'old' && old === undefined)) target.image.lose();
    else if (fault.becomes === 'spoilt') target.image.spoil(this.#rng);
    else this.#putBack(target, old);
    this.#afterwards(fault, () => target.start());
    return true;
  }

  #putBack(target: QuorumMachine, old: unknown): void {
    const { identity, restored } = target.image.stored;
    const { point, entries, hardState } = restored;
    const held = { term: hardState.term, lastIndex: point.index + entries.length };
    const { carried } = identity ?? {};
    if (carried !== undefined) target.lostDisk = { server: serverIdOf(target.nodeId, carried.storage), held };
    target.image.restore(old);
  }

  #cutsOf(fault: QuorumFault, node: number): readonly (readonly [number, number])[] {
    const all = this.#world.machines.map(({ index }) => index);
    const others = all.filter((other) => other !== node);
    const count = all.length;
    switch (fault.kind) {
      case 'cut':
        return [[fault.from, fault.to]];
      case 'isolate':
        return others.flatMap((other): [number, number][] => [
          ...(fault.hears ? [] : [[other, node] as [number, number]]),
          ...(fault.isHeard ? [] : [[node, other] as [number, number]]),
        ]);
      case 'partition':
        return pairs(all, (left, right) => sideOf(fault.groups, left) !== sideOf(fault.groups, right));
      case 'ring': {
        // Of five, each sees its neighbours on both sides; of more, as many as make a majority with it.
        const reach = Math.ceil(count / 4);
        return pairs(all, (left, right) => {
          const apart = Math.abs(left - right);
          return Math.min(apart, count - apart) > reach;
        });
      }
      case 'bridge': {
        const half = Math.ceil(others.length / 2);
        const left = new Set(others.slice(0, half));
        return pairs(others, (one, other) => left.has(one) !== left.has(other));
      }
      default:
        return [];
    }
  }

  #cut(fault: QuorumFault, cuts: readonly (readonly [number, number])[]): boolean {
    const { network } = this.#world;
    for (const [from, to] of cuts) network.cut(this.#id(from), this.#id(to));
    this.#afterwards(fault, () => {
      for (const [from, to] of cuts) network.mend(this.#id(from), this.#id(to));
    });
    return cuts.length > 0;
  }

  #flap(fault: Extract<QuorumFault, { kind: 'flapping' }>): boolean {
    const { network, nowMs } = this.#world;
    const link = [this.#id(fault.from), this.#id(fault.to)] as const;
    flap(network, link, { nowMs, forMs: fault.forMs }, (atMs, callback) => this.#at(atMs, callback));
    return true;
  }

  #flipBits({ from, to, chance, atMs, forMs }: Extract<QuorumFault, { kind: 'bitFlips' }>): boolean {
    const { network, onEffect } = this.#world;
    const [sender, receiver] = [this.#id(from), this.#id(to)];
    onEffect.push((machine, effect) => {
      const { nowMs } = this.#world;
      if (effect.kind !== 'send' || machine.nodeId !== sender || !effect.to.includes(receiver)) return;
      if (nowMs > atMs + forMs || !this.#rng.chance(chance)) return;
      const flipped = effect.bytes.slice();
      const at = this.#rng.below(flipped.length);
      flipped[at] = (flipped[at] as number) ^ (1 << this.#rng.below(8));
      // Links are not all that stands between bytes and machine: what reads them must bear it too.
      decodeFrame(flipped, sender, receiver);
      network.breakConnections(sender, receiver);
    });
    return true;
  }

  /** `company`: those that stay with it. */
  #leaveBehind(
    fault: Extract<QuorumFault, { readonly rate: number; kind: 'leftBehind' | 'leftTogether' }>,
    company: readonly QuorumMachine[],
  ): boolean {
    const { leader } = this.#world;
    if (leader === undefined) return false;
    leader.time.setRate(fault.rate);
    this.#afterwards(fault, () => leader.time.setRate(1));
    const left = [leader, ...company];
    const others = this.#world.machines.filter((machine) => !left.includes(machine));
    return this.#cut(
      fault,
      others.flatMap(({ index }) =>
        left.flatMap((machine): [number, number][] => [
          [index, machine.index],
          [machine.index, index],
        ]),
      ),
    );
  }

  #leaveTogether(fault: Extract<QuorumFault, { kind: 'leftTogether' }>): boolean {
    const { leader, running } = this.#world;
    const voters = leader?.quorum?.replica?.raft.configuration.incoming ?? [];
    const others = running.filter(
      ({ nodeId }) => nodeId !== leader?.nodeId && voters.some((voter) => nodeOf(voter) === nodeId),
    );
    return voters.length >= 5 && others.length > 0 && this.#leaveBehind(fault, [this.#rng.pick(others)]);
  }

  /** All machines freeze and go on together, so that all stand at once. */
  #askAgain(fault: Extract<QuorumFault, { kind: 'askedAgain' }>): boolean {
    const { running, nowMs } = this.#world;
    for (const machine of running) machine.pause();
    this.#at(nowMs + FROZEN_MS, () => {
      for (const machine of running) machine.resume();
      this.#armedUntilMs = this.#world.nowMs + Math.max(fault.forMs, FROZEN_MS);
    });
    return running.length > 0;
  }

  /** Remembers who votes for whom and who else asks; where a fault waits for it, strikes down who was asked by two. */
  #rememberVotes(): void {
    this.#world.onEffect.push((machine, effect) => {
      if (effect.kind !== 'send' || effect.bytes.length > VOTE_BYTES) return;
      const [to] = effect.to;
      const frame = to === undefined ? undefined : decodeFrame(effect.bytes, machine.nodeId, to);
      if (to === undefined || frame?.kind !== 'addressed' || frame.frame.kind !== 'raft') return;
      const { message } = frame.frame;
      if (message.kind === 'voteRequest' && !message.isPreVote) {
        this.#asked.push({ from: machine, to, bytes: effect.bytes, term: message.term });
        this.#votes.set(`${machine.nodeId}/${message.term}`, machine.nodeId);
      } else if (message.kind === 'voteAnswer' && message.granted && !message.isPreVote)
        this.#votes.set(`${machine.nodeId}/${message.term}`, to);
      else return;
      this.#considerStriking();
    });
  }

  #considerStriking(): void {
    if (this.#world.nowMs > this.#armedUntilMs) return;
    const twice = this.#asked
      .slice(-REMEMBERED_VOTES)
      .find(({ from, to, term }) => (this.#votes.get(`${to}/${term}`) ?? from.nodeId) !== from.nodeId);
    const voter = this.#world.machines.find(({ nodeId }) => nodeId === twice?.to);
    if (voter === undefined) return;
    this.#armedUntilMs = Number.NEGATIVE_INFINITY;
    this.#strikeVoter(voter);
  }

  #strikeVoter(voter: QuorumMachine): void {
    const { network } = this.#world;
    const startMs = this.#world.nowMs + this.#rng.below(40);
    this.#at(startMs, () => {
      if (voter.state !== 'running') return;
      voter.crash('kill');
      this.#world.scheduler.after(1, () => voter.start());
      for (let atMs = startMs + 5; atMs < startMs + AGAIN_MS; atMs += 15)
        this.#at(atMs, () => {
          for (const { from, to, bytes } of this.#asked.slice(-REMEMBERED_VOTES))
            if (to === voter.nodeId)
              network.inject({ from: from.nodeId, to: voter.nodeId, channel: 'quorum', bytes });
        });
    });
  }

  #wish(fault: Extract<QuorumFault, { kind: 'wish' }>, about: QuorumMachine): boolean {
    const asked = this.#rng.pick(this.#world.machines);
    const key = wishKey(about.nodeId);
    const success =
      fault.wish === 'none'
        ? ({ op: 'delete', key } as const)
        : ({ op: 'put', key, value: wishValue(fault.wish) } as const);
    const transaction = { compares: [], then: [success], otherwise: [] };
    return asked.call({ op: 'transact', transaction }, () => undefined);
  }

  #forge(fault: Extract<QuorumFault, { kind: 'forge' }>): boolean {
    const rng = this.#rng;
    const [from, to] = [this.#id(fault.from), this.#id(fault.to)];
    const real = this.#frames.filter((frame) => frame.from.nodeId === from && frame.to === to);
    const noise = Uint8Array.from({ length: 1 + rng.below(200) }, () => rng.below(256));
    const frame = real.length === 0 || fault.how === 'noise' ? noise : rng.pick(real).bytes;
    const bytes = fault.how === 'cut' ? frame.slice(0, rng.below(frame.length + 1)) : frame;
    return this.#world.network.inject({ from, to, channel: 'quorum', bytes });
  }

  #id(index: number) {
    return this.#world.machine(index).nodeId;
  }

  #rememberFrames(): void {
    this.#world.onEffect.push((from, effect) => {
      if (effect.kind !== 'send' || !this.#rng.chance(0.05)) return;
      for (const to of effect.to) this.#frames.push({ from, to, bytes: effect.bytes });
      if (this.#frames.length > REMEMBERED_FRAMES)
        this.#frames.splice(this.#rng.below(this.#frames.length), 1);
    });
  }

  #keepImages(): void {
    for (const machine of this.#world.machines) {
      const images = this.#images.get(machine) ?? [];
      this.#images.set(machine, images);
      images.push(machine.image.snapshot());
      if (images.length > 2) images.shift();
    }
    this.#cancels.push(this.#world.scheduler.after(IMAGE_EVERY_MS, () => this.#keepImages()));
  }
}

function sideOf(groups: readonly (readonly number[])[], node: number): number {
  return groups.findIndex((group) => group.includes(node));
}

/** Both directions of every pair that is to be cut. */
function pairs(
  nodes: readonly number[],
  isCut: (left: number, right: number) => boolean,
): readonly (readonly [number, number])[] {
  return nodes.flatMap((left) =>
    nodes.flatMap((right): (readonly [number, number])[] =>
      left !== right && isCut(left, right) ? [[left, right]] : [],
    ),
  );
}
