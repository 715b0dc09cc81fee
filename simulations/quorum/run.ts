/**
 * One seed of the light world: the store is founded, clients and faults have their time, then everything heals and must
 * work within a bound; at last the history of all calls must be linearizable.
 */
import { seededRng } from '../../src/kernel/rng.ts';
import type { QuorumConfig } from '../../src/quorum/config.ts';
import { entryBytes } from '../../src/quorum/raft/log.ts';
import { checkLinearizability, describeVerdict } from '../lib/checkers/linearizability.ts';
import type { Violation } from '../lib/cluster.ts';
import { DISK_HEALTHY } from '../lib/host.ts';
import type { HistoryOperation } from '../lib/quorum-history.ts';
import { Exceptions } from './exceptions.ts';
import {
  drawQuorumFaults,
  FROZEN_MS,
  type QuorumFault,
  QuorumFaultInjector,
  type QuorumFaultKind,
} from './faults.ts';
import type { QuorumMachine } from './machine.ts';
import { drawPlan, type QuorumPlan } from './plan.ts';
import { Safety } from './safety.ts';
import { WatchChecker } from './watches.ts';
import { ANSWER_MS, type CallTimes, QuorumWorkload } from './workload.ts';
import { QuorumWorld } from './world.ts';

export interface QuorumRunOptions {
  readonly seed: number;
  readonly nodes?: number;
  /** Instead of what the seed would draw: how regressions are replayed, and faults cut down. */
  readonly plan?: QuorumPlan;
  readonly faults?: readonly QuorumFault[];
  readonly keepNotes?: number;
  /** Is given all that clients did and were told. */
  readonly onHistory?: (history: readonly HistoryOperation[]) => void;
}

export interface QuorumRunReport {
  readonly scenario: 'quorum';
  readonly seed: number;
  readonly nodes: number;
  readonly traceHash: string;
  readonly events: number;
  readonly simulatedMs: number;
  readonly operations: { readonly ok: number; readonly failed: number; readonly unknown: number };
  readonly committed: number;
  readonly leaders: number;
  /** From healing to everybody writing and equal again. */
  readonly healedMs: number | undefined;
  readonly faults: readonly QuorumFault[];
  /** How many of each kind found something to strike. */
  readonly struck: Readonly<Partial<Record<QuorumFaultKind, number>>>;
  readonly violations: readonly Violation[];
  /** Why the run has no verdict: what broke is beyond what can be promised. */
  readonly void: string | undefined;
  readonly replay: string;
  readonly plan: QuorumPlan;
  readonly notes: readonly string[];
}

export function runQuorum(options: QuorumRunOptions): QuorumRunReport {
  return new QuorumRun(options).run();
}

export function quorumReplay(seed: number, nodes?: number): string {
  return `npm run simulate -- quorum --seed ${seed}${nodes === undefined ? '' : ` --nodes ${nodes}`}`;
}

/** Keeps the dice of the plan apart from those of the world. */
const PLAN_SEED = 2 ** 40;
/**
 * After healing, everybody must be able to write within this, and all copies must be equal a little later; who is behind
 * gets what the windows take besides (`backlogMs`).
 */
const LIVENESS_MS = 15_000;
const EQUAL_MS = 10_000;
/** Leases end up to this much late, by design, and by what a change of leader gives them. */
const LEASES_MS = 12_000;
const LINEARIZABILITY_STEPS = 400_000;

class QuorumRun {
  readonly #options: QuorumRunOptions;
  readonly #plan: QuorumPlan;
  readonly #world: QuorumWorld;
  readonly #safety: Safety;
  readonly #watches: WatchChecker;
  readonly #faults: readonly QuorumFault[];
  readonly #workload: QuorumWorkload;
  readonly #injector: QuorumFaultInjector;
  readonly #exceptions: Exceptions;
  #healedMs: number | undefined;

  constructor(options: QuorumRunOptions) {
    this.#options = options;
    const plan = options.plan ?? drawPlan(seededRng(options.seed + PLAN_SEED), options.nodes);
    this.#plan = plan;
    this.#world = new QuorumWorld({
      seed: options.seed,
      nodes: plan.nodes,
      breakAfterMs: plan.breakAfterMs,
      maxDelayMs: plan.maxDelayMs,
      configOf: (machine) => this.#configOf(machine),
      keepNotes: options.keepNotes ?? 0,
    });
    this.#safety = new Safety(this.#world);
    this.#watches = new WatchChecker(this.#world);
    const { faults, fromMs, untilMs } = plan;
    const drawn = drawQuorumFaults(this.#world.rng.fork(), faults, plan.nodes, fromMs, untilMs);
    this.#faults = options.faults ?? drawn;
    this.#workload = new QuorumWorkload(this.#world, plan.workload, (times) => this.#returned(times));
    this.#injector = new QuorumFaultInjector(this.#world, this.#faults);
    const mayGoBack = this.#faults.some((fault) => fault.kind === 'disk' && fault.becomes === 'old');
    this.#exceptions = new Exceptions(this.#world, mayGoBack);
  }

  run(): QuorumRunReport {
    const { scheduler } = this.#world;
    try {
      for (const machine of this.#world.machines) machine.start();
      this.#runUntil(this.#plan.untilMs);
      this.#injector.stop();
      this.#workload.stop();
      this.#world.heal();
      this.#demandLiveness();
      if (!this.#world.isOver) {
        this.#safety.checkDigests();
        this.#watches.finish();
        this.#checkHistory();
      }
    } catch (error) {
      this.#world.violate(
        'invariant',
        error instanceof Error ? (error.stack ?? error.message) : String(error),
      );
    }
    this.#options.onHistory?.(this.#workload.complete());
    return this.#report(scheduler.nowMs);
  }

  /** A broken promise ends the run: what follows from it would only hide it. */
  #runUntil(atMs: number, isDone: () => boolean = () => false): boolean {
    const { scheduler } = this.#world;
    return scheduler.runUntilTrue(() => isDone() || this.#world.isOver, atMs);
  }

  #configOf(machine: QuorumMachine): QuorumConfig {
    const { targetVoters, stableMs, replaceAfterMs, foundAfterMs, raft } = this.#plan;
    return {
      // Who lost its disk is told of the others: as a founder it would begin a second store, as it is meant to.
      mayFound: machine.index === 0 && !machine.hasNewDisk,
      foundAfterMs,
      mayVote: true,
      voters: { target: targetVoters, stableMs, replaceAfterMs },
      raft,
    };
  }

  /** A call is answered or refused in bounded time, whatever happens elsewhere (K39). */
  #returned({ machine, startMs, endMs }: CallTimes): void {
    if (endMs - startMs <= ANSWER_MS) return;
    const wasDisturbed = this.#faults.some(
      (fault) =>
        [
          'pause',
          'drift',
          'leftBehind',
          'leftTogether',
          'askedAgain',
          'crash',
          'crashAll',
          'disk',
          'version',
        ].includes(fault.kind) &&
        fault.atMs <= endMs &&
        fault.atMs + Math.max(fault.forMs, fault.kind === 'askedAgain' ? FROZEN_MS : 0) >= startMs,
    );
    if (!wasDisturbed)
      this.#world.violate(
        'bounded answers',
        `a call on ${machine.name} took ${Math.round(endMs - startMs)} ms`,
      );
  }

  #demandLiveness(): void {
    const world = this.#world;
    const healedMs = world.nowMs;
    const written = new Set<QuorumMachine>();
    const write = (machine: QuorumMachine) => {
      const value = Uint8Array.of(machine.index);
      const transaction = {
        compares: [],
        then: [{ op: 'put', key: 'probe', value } as const],
        otherwise: [],
      };
      machine.call({ op: 'transact', transaction }, (result) => {
        if (result.ok) written.add(machine);
        else world.scheduler.after(100, () => write(machine));
      });
    };
    for (const machine of world.machines) write(machine);
    const isLive = () => written.size === world.machines.length && this.#workload.pending === 0;
    const withinMs = LIVENESS_MS + this.#backlogMs();
    if (!this.#runUntil(healedMs + withinMs, isLive)) {
      const silent = world.machines.filter((machine) => !written.has(machine)).map(({ name }) => name);
      const leader = world.leader?.name ?? 'nobody';
      if (this.#exceptions.isMajorityLost()) world.except('the disks of half the voters are lost');
      world.violate(
        'liveness',
        `${silent.join(', ') || 'a client'} cannot write ${Math.round(withinMs)} ms after healing; ${leader} leads`,
      );
    }
    if (world.isOver) return;
    const equalBy = world.nowMs + EQUAL_MS;
    if (!this.#runUntil(equalBy, () => this.#areEqual()))
      world.violate(
        'liveness',
        `copies are not equal ${EQUAL_MS} ms after all could write: ${this.#positions()}`,
      );
    this.#healedMs = world.nowMs - healedMs;
    if (!world.isOver) this.#demandEndOfLeases();
  }

  /**
   * The longest that a leader may take to carry the longest log to who lacks most of it: a full window goes and its
   * confirmation comes in a round trip, and entries larger than the window go one by one. A member's call is answered
   * only behind all that it lacks, so where a single voter commits faster than the windows carry (entries of 3 kB behind
   * a window of 900 bytes: 16 of them a second) nobody else can write earlier.
   */
  #backlogMs(): number {
    const { raft, maxDelayMs } = this.#plan;
    const copies = this.#world.machines.flatMap(({ quorum }) => quorum?.replica?.raft ?? []);
    const longest = copies.toSorted((left, right) => right.lastIndex - left.lastIndex)[0];
    const shortest = Math.min(...copies.map(({ lastIndex }) => lastIndex));
    let windows = 0;
    for (const entry of longest?.entries() ?? [])
      if (entry.index > shortest) windows += Math.min(1, entryBytes(entry) / raft.inFlightBytes);
    return windows * (2 * maxDelayMs + DISK_HEALTHY.maxSyncMs);
  }

  #areEqual(): boolean {
    const indexes = this.#world.machines.map(({ quorum }) => quorum?.replica?.appliedIndex ?? -1);
    const last = this.#world.leader?.quorum?.replica?.raft.lastIndex;
    return indexes.every((index) => index === last);
  }

  #positions(): string {
    return this.#world.machines
      .map(({ name, quorum }) => {
        const raft = quorum?.replica?.raft;
        return `${name} ${raft?.role} term ${raft?.term} applied ${quorum?.replica?.appliedIndex} of ${raft?.lastIndex}`;
      })
      .join(', ');
  }

  /** Nobody renews any more: what hangs on a lease goes, whoever led when it was granted. */
  #demandEndOfLeases(): void {
    const world = this.#world;
    const left = () => [...(world.leader?.quorum?.register.leases() ?? [])].length;
    if (left() > 0 && !this.#runUntil(world.nowMs + LEASES_MS, () => left() === 0))
      world.violate('leases', `${left()} leases stand ${LEASES_MS} ms after the last renewal`);
  }

  #checkHistory(): void {
    const history = this.#workload.complete();
    const verdict = checkLinearizability(history, { mostSteps: LINEARIZABILITY_STEPS });
    if (verdict.kind === 'violated') this.#world.violate('linearizability', describeVerdict(verdict));
    if (verdict.kind === 'undecided') this.#world.violate('undecided', describeVerdict(verdict));
  }

  #report(simulatedMs: number): QuorumRunReport {
    const { seed, nodes } = this.#options;
    return {
      scenario: 'quorum',
      seed,
      nodes: this.#plan.nodes,
      traceHash: this.#world.trace.hash(),
      events: this.#world.steps,
      simulatedMs,
      operations: this.#workload.outcomes,
      committed: this.#safety.committed,
      leaders: this.#safety.leaders,
      healedMs: this.#healedMs,
      faults: this.#faults,
      struck: this.#injector.struck,
      violations: this.#world.violations,
      void: this.#world.isVoid ? this.#world.exception : undefined,
      replay: quorumReplay(seed, nodes),
      plan: this.#plan,
      notes: this.#world.trace.last(),
    };
  }
}
