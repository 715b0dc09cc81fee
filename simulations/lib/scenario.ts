/**
 * One scenario with one seed: phase one runs load under faults and checks safety as it goes; phase two heals and
 * demands that everything converges within a bound; then the final state is held against the history.
 */
import { type Scenario, type ScenarioName, scenarios } from '../scenarios.ts';
import { contentDifferences, entriesOn, haveConverged } from './checkers/convergence.ts';
import { checkDurability } from './checkers/durability.ts';
import { membershipErrors } from './checkers/membership.ts';
import { SessionChecker } from './checkers/sessions.ts';
import { Cluster, type Violation } from './cluster.ts';
import { drawFaults, type Fault, FaultInjector } from './faults.ts';
import type { Operation } from './history.ts';
import { BOARD } from './names.ts';
import { Workload } from './workload.ts';

export interface RunOptions {
  readonly scenario: ScenarioName;
  /** 0 to 2^53 - 1. */
  readonly seed: number;
  /** Default: the scenario's own. */
  readonly nodes?: number;
  /** Instead of those that the seed would draw: how regressions are replayed, and faults cut down. */
  readonly faults?: readonly Fault[];
  /** Notes of the trace that the report keeps, for reading; default none. */
  readonly keepNotes?: number;
}

export interface RunReport {
  readonly scenario: ScenarioName;
  readonly seed: number;
  readonly nodes: number;
  /** Equal for equal options, on every machine and every version of Node. */
  readonly traceHash: string;
  /** Events that the nodes handled. */
  readonly events: number;
  readonly simulatedMs: number;
  /** From healing to equal content everywhere. */
  readonly convergedMs: number | undefined;
  readonly operations: { readonly ok: number; readonly fail: number; readonly info: number };
  readonly sessionChecks: number;
  readonly frames: number;
  readonly faults: readonly Fault[];
  readonly violations: readonly Violation[];
  /** What replays this run. */
  readonly replay: string;
  readonly notes: readonly string[];
}

/** Runs to the end within the call. Never throws for what the nodes do: a broken invariant is a violation. */
export function runScenario(options: RunOptions): RunReport {
  return new Run(options).run();
}

/** How long an answer may take where nothing is in the way: a slow event loop or disk is, a network is not. */
const LOCAL_ANSWER_MS = 5_000;

class Run {
  readonly #options: RunOptions;
  readonly #scenario: Scenario;
  readonly #cluster: Cluster;
  readonly #faults: readonly Fault[];
  readonly #workload: Workload;
  readonly #injector: FaultInjector;
  readonly #sessions: SessionChecker;
  /** Operations that a lost or replaced disk may have undone. */
  readonly #excused = new Set<number>();
  /** Operations that the disk of the node that was asked may lack, and others had. */
  readonly #handedOn = new Set<number>();
  #convergedMs: number | undefined;

  constructor(options: RunOptions) {
    this.#options = options;
    this.#scenario = scenarios[options.scenario];
    const nodes = options.nodes ?? this.#scenario.nodes;
    this.#cluster = new Cluster({
      seed: options.seed,
      nodes,
      boards: { boards: [{ name: BOARD, mode: 'crdt' }] },
      keepNotes: options.keepNotes ?? 0,
    });
    const drawn = drawFaults(this.#cluster.rng.fork(), this.#scenario.faults, nodes, this.#scenario.faultsMs);
    this.#faults = options.faults ?? drawn;
    this.#sessions = new SessionChecker((what) => this.#cluster.violate('sessions', what));
    this.#workload = new Workload(this.#cluster, this.#scenario.workload, (done) => this.#returned(done));
    this.#injector = new FaultInjector(this.#cluster, this.#faults, (node) => this.#diskReplaced(node));
    if (this.#scenario.noFalseDeaths) this.#watchForFalseDeaths();
  }

  run(): RunReport {
    try {
      this.#cluster.startAll();
      this.#cluster.scheduler.runUntil(this.#scenario.faultsMs);
      this.#injector.stop();
      this.#workload.stop();
      this.#cluster.heal();
      this.#converge();
      if (this.#convergedMs !== undefined) this.#checkFinalState();
    } catch (error) {
      this.#cluster.violate(
        'invariant',
        error instanceof Error ? (error.stack ?? error.message) : String(error),
      );
    }
    return this.#report();
  }

  #returned(operation: Operation): void {
    this.#sessions.observe(operation);
    this.#checkAvailability(operation);
  }

  /** A node that runs answers by itself, whatever the network does; it refuses only for reasons of its own. */
  #checkAvailability({ call, error, machine, index, invokedMs, returnedMs }: Operation): void {
    const waitedMs = returnedMs - invokedMs;
    const wasDisturbed = this.#faults.some(
      (fault) =>
        'node' in fault &&
        fault.node === machine &&
        fault.atMs <= returnedMs &&
        fault.atMs + fault.forMs + LOCAL_ANSWER_MS >= invokedMs,
    );
    if (wasDisturbed) return;
    const where = `${call.op} on node-${machine} (operation ${index})`;
    if (waitedMs > LOCAL_ANSWER_MS)
      this.#cluster.violate(
        'availability',
        `${where} took ${Math.round(waitedMs)} ms on a node without faults`,
      );
    if (error !== undefined && error.code !== 'SESSION_NOT_SATISFIED')
      this.#cluster.violate('availability', `${where} was refused: ${error.code} ${error.message}`);
  }

  /** What only this disk held goes with it: whatever no other running node shows now. */
  #diskReplaced(node: number): void {
    const others = this.#cluster.running.filter(({ index }) => index !== node).map(entriesOn);
    for (const operation of this.#workload.history) {
      const { call, machine, answer, written, index } = operation;
      if (machine !== node && !this.#handedOn.has(index)) continue;
      if (!('key' in call) || call.key === undefined || call.op === 'read') continue;
      const { key } = call;
      const isElsewhere = others.some((entries) => {
        const entry = entries.get(key);
        if (call.op === 'append') return holdsAll(entry?.value, written);
        return (entry?.revision ?? 0) >= (answer?.revision ?? Number.POSITIVE_INFINITY);
      });
      if (isElsewhere) this.#handedOn.add(index);
      else this.#excused.add(index);
    }
  }

  #watchForFalseDeaths(): void {
    this.#cluster.onEffect.push((machine, effect) => {
      if (effect.kind !== 'memberChanged' || effect.state !== 'dead') return;
      const about = this.#cluster.machines.find(({ nodeId }) => nodeId === effect.member);
      if (about !== undefined && about.state === 'running')
        this.#cluster.violate('membership', `${machine.name} believes ${about.name} dead, which it is not`);
    });
  }

  #converge(): void {
    const cluster = this.#cluster;
    const healedMs = cluster.nowMs;
    const endMs = healedMs + this.#scenario.convergeMs;
    for (let atMs = healedMs + 100; atMs <= endMs; atMs += 100) {
      cluster.scheduler.runUntil(atMs);
      if (this.#workload.pending > 0 || membershipErrors(cluster).length > 0 || !haveConverged(cluster))
        continue;
      this.#convergedMs = cluster.nowMs - healedMs;
      return;
    }
    const waited = `within ${this.#scenario.convergeMs} ms of healing`;
    if (this.#workload.pending > 0) cluster.violate('liveness', `calls were not answered ${waited}`);
    for (const what of membershipErrors(cluster).slice(0, 3))
      cluster.violate('membership', `${what} ${waited}`);
    if (haveConverged(cluster)) return;
    const hashes = cluster.machines.map((machine) => `${machine.name} ${machine.contentHash()}`);
    cluster.violate('convergence', `nodes differ ${waited}: ${hashes.join(', ')}`);
    for (const what of contentDifferences(cluster).slice(0, 3)) cluster.violate('convergence', what);
  }

  #checkFinalState(): void {
    const cluster = this.#cluster;
    for (const what of contentDifferences(cluster)) cluster.violate('convergence', what);
    const [first] = cluster.machines;
    if (first === undefined) return;
    for (const what of checkDurability(this.#workload.history, entriesOn(first), this.#excused))
      cluster.violate('durability', what);
  }

  #report(): RunReport {
    const { scenario, seed } = this.#options;
    const nodes = this.#cluster.machines.length;
    const count = (outcome: Operation['outcome']) =>
      this.#workload.history.filter((operation) => operation.outcome === outcome).length;
    return {
      scenario,
      seed,
      nodes,
      traceHash: this.#cluster.trace.hash(),
      events: this.#cluster.trace.count,
      simulatedMs: this.#cluster.nowMs,
      convergedMs: this.#convergedMs,
      operations: { ok: count('ok'), fail: count('fail'), info: count('info') },
      sessionChecks: this.#sessions.checked,
      frames: this.#cluster.network.traffic.frames,
      faults: this.#faults,
      violations: this.#cluster.violations,
      replay: replayCommand(scenario, seed, nodes),
      notes: this.#cluster.trace.last(),
    };
  }
}

export function replayCommand(scenario: ScenarioName, seed: number, nodes: number): string {
  return `npm run simulate -- ${scenario} --seed ${seed} --nodes ${nodes}`;
}

function holdsAll(value: unknown, texts: readonly string[]): boolean {
  const text = JSON.stringify(value ?? []);
  return texts.every((wanted) => text.includes(JSON.stringify(wanted)));
}
