/**
 * One seed of the world of several stores: founding races, stores that meet, a majority that is lost for good. At the end
 * all heals, and what clients were promised must be where the rules say.
 */
import { utf8 } from '../../../src/kernel/codec.ts';
import type { Result } from '../../../src/kernel/errors.ts';
import type { NodeId } from '../../../src/kernel/ids.ts';
import { type Rng, seededRng } from '../../../src/kernel/rng.ts';
import type { QuorumConfig } from '../../../src/quorum/config.ts';
import type { QuorumCall } from '../../../src/quorum/messages.ts';
import type { TransactionAnswer } from '../../../src/quorum/port.ts';
import { nodeOf } from '../../../src/quorum/server.ts';
import type { Violation } from '../../lib/cluster.ts';
import { drawQuorumFaults, type QuorumFault, QuorumFaultInjector, type QuorumFaultKind } from '../faults.ts';
import type { QuorumMachine } from '../machine.ts';
import { Safety } from '../safety.ts';
import { QuorumWorld } from '../world.ts';
import { keysOf, StoresLedger } from './ledger.ts';
import { drawStoresPlan, RAFT_OF_STORES, type StoresPlan, type StoresStory } from './plan.ts';

export interface StoresRunOptions {
  readonly seed: number;
  /** Instead of what the seed would draw. */
  readonly plan?: StoresPlan;
  readonly faults?: readonly QuorumFault[];
}

export interface StoresRunReport {
  readonly scenario: 'quorum-stores';
  readonly seed: number;
  readonly nodes: number;
  readonly story: StoresStory['kind'];
  readonly plan: StoresPlan;
  readonly traceHash: string;
  readonly simulatedMs: number;
  readonly founded: number;
  readonly acknowledged: number;
  /** At the end, with data or without. */
  readonly stores: number;
  readonly faults: readonly QuorumFault[];
  readonly struck: Readonly<Partial<Record<QuorumFaultKind, number>>>;
  readonly violations: readonly Violation[];
  readonly replay: string;
}

export function runStores(options: StoresRunOptions): StoresRunReport {
  return new StoresRun(options).run();
}

/** Keeps the dice of the plan apart from those of the world. */
const PLAN_SEED = 2 ** 41;
const LIVENESS_MS = 60_000;
const PERSON_MS = 500;
/** A person is content once the order was carried out, and stays so for that long. */
const SETTLED_MS = 2_000;

class StoresRun {
  readonly #options: StoresRunOptions;
  readonly #plan: StoresPlan;
  readonly #world: QuorumWorld;
  readonly #ledger: StoresLedger;
  readonly #injector: QuorumFaultInjector;
  readonly #faults: readonly QuorumFault[];
  readonly #rng: Rng;
  #isStopped = false;
  #written = 0;
  #isOrderDone = true;

  constructor(options: StoresRunOptions) {
    this.#options = options;
    const plan = options.plan ?? drawStoresPlan(seededRng(options.seed + PLAN_SEED));
    this.#plan = plan;
    this.#world = new QuorumWorld({
      seed: options.seed,
      nodes: plan.nodes,
      breakAfterMs: 2_000,
      maxDelayMs: plan.maxDelayMs,
      configOf: (machine) => this.#configOf(machine),
    });
    new Safety(this.#world);
    this.#ledger = new StoresLedger(this.#world);
    this.#rng = this.#world.rng.fork();
    const drawn = drawQuorumFaults(this.#world.rng.fork(), plan.faults, plan.nodes, 0, plan.untilMs);
    this.#faults = options.faults ?? drawn;
    this.#injector = new QuorumFaultInjector(this.#world, this.#faults);
  }

  run(): StoresRunReport {
    const { scheduler, machines } = this.#world;
    try {
      this.#tell();
      for (const machine of machines)
        scheduler.at(this.#plan.startsMs[machine.index] ?? 0, () => machine.start());
      for (const machine of machines) scheduler.at(this.#plan.loadFromMs, () => this.#work(machine));
      this.#runUntil(this.#plan.untilMs);
      this.#injector.stop();
      this.#world.heal();
      this.#runUntil(this.#world.nowMs + LIVENESS_MS, () => this.#isOrderDone);
      this.#isStopped = true;
      this.#demandQuiet();
      if (this.#world.violations.length === 0) this.#ledger.check();
      if (this.#world.violations.length === 0) this.#demandTokens();
    } catch (error) {
      const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
      this.#world.violate('invariant', what);
    }
    return this.#report();
  }

  /** What the story is told of the world, besides faults. */
  #tell(): void {
    const { story } = this.#plan;
    if (story.kind === 'meet') this.#tellMeeting(story);
    if (story.kind === 'recover') this.#tellRecovery(story);
  }

  #tellMeeting({ meetMs, isMerged }: Extract<StoresStory, { kind: 'meet' }>): void {
    const { network, scheduler, machines } = this.#world;
    const sides = [0, 1].map((side) =>
      machines.filter(({ index }) => index % 2 === side).map(({ nodeId }) => nodeId),
    );
    network.partition(sides);
    scheduler.at(meetMs, () => network.mendAll());
    if (!isMerged) return;
    this.#isOrderDone = false;
    scheduler.at(meetMs + this.#rng.below(4_000), () => this.#merge());
  }

  #tellRecovery(story: Extract<StoresStory, { kind: 'recover' }>): void {
    const { scheduler } = this.#world;
    this.#isOrderDone = false;
    scheduler.at(story.lostAtMs - story.behindMs, () => {
      const leader = this.#world.leader;
      const voters = leader?.quorum?.replica?.raft.committedConfiguration;
      const nodes = voters?.incoming.map(nodeOf) ?? [];
      const voting = this.#world.machines.filter(({ nodeId }) => nodes.includes(nodeId));
      // Where the last word on the voters is still to be said, nothing is certain about which majority is lost.
      if (voters === undefined || voters.outgoing.length > 0 || voting.length < 3) {
        this.#isOrderDone = true;
        return;
      }
      this.#lose(story, voting, storeOf(leader));
    });
  }

  #lose(
    story: Extract<StoresStory, { kind: 'recover' }>,
    voting: readonly QuorumMachine[],
    from: string | undefined,
  ): void {
    const { scheduler, network, machines } = this.#world;
    const isAll = story.losesAllVoters && voting.length < machines.length;
    const lost = this.#rng
      .shuffled(voting)
      .slice(0, isAll ? voting.length : Math.floor(voting.length / 2) + 1);
    const left = machines.filter((machine) => !lost.includes(machine));
    if (story.behindMs > 0) network.partition([lost.map(idOf), left.map(idOf)]);
    scheduler.at(story.lostAtMs, () => {
      for (const machine of lost) {
        machine.crash('power');
        machine.isGone = true;
      }
      network.mendAll();
    });
    scheduler.at(story.recoverAtMs, () => this.#recover(story, voting, lost, from));
  }

  // People.

  #merge(): void {
    const { leaders } = this;
    const withData = leaders.filter((machine) => this.#ledger.holdsData(storeOf(machine) ?? ''));
    const stores = new Set(withData.map(storeOf));
    const [loser] = withData;
    const keep = withData.map(storeOf).find((store) => store !== storeOf(loser));
    if (stores.size < 2 || loser === undefined || keep === undefined) {
      // There is nothing to choose between, or not yet.
      if (this.#isStopped || this.#world.nowMs > this.#plan.untilMs) this.#isOrderDone = true;
      else this.#later(PERSON_MS, () => this.#merge());
      return;
    }
    const given = storeOf(loser) as string;
    // From here on its clients know that what they write goes.
    this.#ledger.orderedGivenUp(given);
    const order = () => {
      const leader = this.leaders.find((machine) => storeOf(machine) === given);
      if (leader === undefined && this.#world.machines.every((machine) => storeOf(machine) !== given)) {
        this.#isOrderDone = true;
        return;
      }
      leader?.call({ op: 'abandon', keep }, () => undefined);
      this.#later(PERSON_MS, order);
    };
    order();
  }

  /** On a voter, where one is left: the others follow nobody else by themselves. */
  #recover(
    story: Extract<StoresStory, { kind: 'recover' }>,
    voting: readonly QuorumMachine[],
    lost: readonly QuorumMachine[],
    from: string | undefined,
  ): void {
    const left = this.#world.running.filter(
      (machine) => !lost.includes(machine) && storeOf(machine) === from,
    );
    const isVoterLeft = voting.some((machine) => !lost.includes(machine));
    const fit = left.filter((machine) => !isVoterLeft || voting.includes(machine));
    const indexOf = (machine: QuorumMachine) => machine.quorum?.replica?.raft.lastIndex ?? 0;
    const [chosen] = fit.sort((one, other) => indexOf(other) - indexOf(one));
    if (chosen === undefined || from === undefined) {
      this.#later(PERSON_MS, () => this.#recover(story, voting, lost, from));
      return;
    }
    this.#goOn(chosen, from, () => {
      const delayMs = Math.max(0, story.backAtMs - this.#world.nowMs);
      this.#later(delayMs, () => this.#bringBack(lost, isVoterLeft ? 1 : 0));
    });
  }

  /** Orders it again and again, as one does who is told to wait, until the machine has carried another store for a while. */
  #goOn(machine: QuorumMachine, from: string, done: () => void): void {
    const shown = storeOf(machine) === from ? keysOf(machine) : undefined;
    if (shown !== undefined)
      machine.call({ op: 'recover' }, (result) => {
        if (result.ok) this.#ledger.orderedGoneOn(machine, from, shown);
      });
    const store = storeOf(machine);
    this.#later(SETTLED_MS, () => {
      const isDone = store !== undefined && store !== from && storeOf(machine) === store;
      if (isDone) done();
      else this.#goOn(machine, from, done);
    });
  }

  /** The others with empty disks: those that carry the old store must not be able to elect somebody in it. */
  #bringBack(lost: readonly QuorumMachine[], asTheyWere: number): void {
    for (const [at, machine] of lost.entries()) {
      if (at >= asTheyWere) {
        machine.image.lose();
        machine.hasNewDisk = true;
      }
      machine.isGone = false;
      machine.start();
    }
    this.#isOrderDone = true;
  }

  #later(delayMs: number, callback: () => void): void {
    this.#world.scheduler.after(delayMs, callback);
  }

  // Clients.

  /** Writes a new key again and again through its machine. */
  #work(machine: QuorumMachine): void {
    if (this.#isStopped) return;
    const again = () =>
      this.#later(2 * this.#plan.thinkMs * this.#rng.float() + 1, () => this.#work(machine));
    if (!this.#mayWrite(machine)) {
      again();
      return;
    }
    const key = `w${machine.index}.${++this.#written}`;
    const asked = machine.call(putOf(key), (result: Result<unknown>) => {
      if (result.ok) this.#ledger.acknowledge(machine, key, result.value as TransactionAnswer);
      again();
    });
    if (!asked) again();
  }

  #mayWrite({ index }: QuorumMachine): boolean {
    const { story } = this.#plan;
    if (story.kind !== 'meet' || story.data === 'both') return true;
    // Until they have met; what is written later goes to whichever is left.
    const hasMet = this.#world.nowMs > story.meetMs + 20_000;
    return hasMet || (story.data === 'one' && index % 2 === 0);
  }

  // What must be true at the end.

  #demandQuiet(): void {
    const world = this.#world;
    const written = new Set<QuorumMachine>();
    const write = (machine: QuorumMachine) => {
      machine.call(putOf(`probe${machine.index}`), (result) => {
        if (result.ok) written.add(machine);
        else this.#later(200, () => write(machine));
      });
    };
    for (const machine of world.machines) write(machine);
    const isQuiet = () => written.size === world.machines.length && this.#isUnited();
    if (this.#runUntil(world.nowMs + LIVENESS_MS, isQuiet) || world.violations.length > 0) return;
    const carried = world.machines.map((machine) => `${machine.name} ${storeOf(machine)}`).join(', ');
    world.violate(
      'liveness',
      `${world.machines.length - written.size} cannot write ${LIVENESS_MS} ms after healing, or stores stand side by side that should not: ${carried}`,
    );
  }

  /** One store; or those that all hold data, each seen by all who carry another. */
  #isUnited(): boolean {
    const { machines } = this.#world;
    const stores = new Set(machines.map(({ quorum }) => quorum?.replica?.carried.store));
    if (stores.has(undefined)) return false;
    if (stores.size === 1 || this.#plan.story.kind === 'recover') return stores.size === 1;
    return machines.every((machine) => {
      const status = machine.quorum?.status();
      const others = status?.others.filter(({ hasData }) => hasData) ?? [];
      return status?.hasData === true && others.length === stores.size - 1;
    });
  }

  #demandTokens(): void {
    const { kind } = this.#plan.story;
    if (kind === 'race' && this.#ledger.founded !== 1)
      this.#world.violate('founding', `${this.#ledger.founded} of several that see each other founded`);
    const stores = new Set(this.#world.machines.map(storeOf));
    const { highestRevision } = this.#ledger;
    const isPassed = () =>
      this.#world.machines.every(({ quorum }) => (quorum?.register.revision ?? 0) >= highestRevision);
    if (stores.size === 1 && !this.#runUntil(this.#world.nowMs + LIVENESS_MS, isPassed))
      this.#world.violate('tokens', `the store that is left stays below revision ${highestRevision}`);
  }

  get leaders(): readonly QuorumMachine[] {
    return this.#world.machines.filter(({ isLeader, state }) => isLeader && state === 'running');
  }

  #runUntil(atMs: number, isDone: () => boolean = () => false): boolean {
    const { scheduler, violations } = this.#world;
    return scheduler.runUntilTrue(() => isDone() || violations.length > 0, atMs);
  }

  #configOf(machine: QuorumMachine): QuorumConfig {
    const { targetVoters, stableMs, foundAfterMs, tailEntries, story, founders } = this.#plan;
    const founds = story.kind === 'meet' ? machine.index < 2 : founders.includes(machine.index);
    return {
      mayFound: founds && !machine.hasNewDisk,
      foundAfterMs,
      mayVote: true,
      voters: {
        target: story.kind === 'recover' ? 3 : targetVoters,
        stableMs,
        replaceAfterMs: story.kind === 'recover' ? 600_000 : 5_000,
      },
      raft: { ...RAFT_OF_STORES, ...(tailEntries === undefined ? {} : { tailEntries }) },
    };
  }

  #report(): StoresRunReport {
    const { seed } = this.#options;
    const { machines, trace, violations, nowMs } = this.#world;
    return {
      scenario: 'quorum-stores',
      seed,
      nodes: this.#plan.nodes,
      story: this.#plan.story.kind,
      plan: this.#plan,
      traceHash: trace.hash(),
      simulatedMs: nowMs,
      founded: this.#ledger.founded,
      acknowledged: this.#ledger.acknowledged,
      stores: new Set(machines.map(storeOf)).size,
      faults: this.#faults,
      struck: this.#injector.struck,
      violations,
      replay: `npm run simulate -- quorum-stores --seed ${seed}`,
    };
  }
}

function storeOf(machine: QuorumMachine | undefined): string | undefined {
  return machine?.quorum?.status().store;
}

function idOf({ nodeId }: QuorumMachine): NodeId {
  return nodeId;
}

function putOf(key: string): QuorumCall {
  const then = [{ op: 'put', key, value: utf8(key) } as const];
  return { op: 'transact', transaction: { compares: [], then, otherwise: [] } };
}
