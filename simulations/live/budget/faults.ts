/** Faults of a live run with budgets: those of the quorum store that money may suffer from, and some of its own. */
import { endsAfter, FAULTS, type Fault, shuffled, type World, wait } from '../faults.ts';
import type { Ability, Machine } from '../machines.ts';
import type { Spenders } from './spenders.ts';

export interface BudgetWorld extends World {
  readonly spenders: readonly Spenders[];
  /** Who shares the budgets out, as some node sees it now. */
  orchestrator(): Promise<Machine | undefined>;
  /** What the machine had on its disk is gone, or older than it was. */
  forgot(machine: Machine): void;
  /** Agents that use what runs on the copy of the machine's data, until aborted. */
  spendOn(copy: Machine, until: AbortSignal): Promise<void>;
}

export interface BudgetFault {
  readonly name: string;
  readonly what: string;
  readonly needs?: Ability;
  strike(world: BudgetWorld): Promise<void>;
}

/** Longer than the lease of the orchestrator, and than short reservations live. */
const BEYOND_LEASES_MS = 8_000;
const WHILE_MS = 2_500;

const OWN: readonly BudgetFault[] = [
  {
    name: 'kill-orchestrator',
    what: 'kill -9 of the orchestrator (B07, B17, B19)',
    strike: async (world) => {
      const machine = (await world.orchestrator()) ?? anyOf(world);
      await world.machines.kill(machine);
      await wait(world, 1_500);
      await world.machines.start(machine);
    },
  },
  {
    name: 'pause-orchestrator',
    what: 'SIGSTOP of the orchestrator beyond its lease (B14, B16)',
    strike: async (world) => {
      const machine = (await world.orchestrator()) ?? anyOf(world);
      world.machines.signal(machine, 'SIGSTOP');
      await wait(world, BEYOND_LEASES_MS);
      world.machines.signal(machine, 'SIGCONT');
    },
  },
  {
    name: 'pause-agents',
    what: 'SIGSTOP of agents between reserving and spending, beyond leases and their reservations (B15)',
    strike: async (world) => {
      const spenders = shuffled(world, world.spenders)[0];
      spenders?.signal('SIGSTOP');
      await wait(world, BEYOND_LEASES_MS);
      spenders?.signal('SIGCONT');
    },
  },
  {
    name: 'pause-machine',
    what: 'SIGSTOP of a node and of its agents, beyond leases and reservations (B14, B15)',
    strike: async (world) => {
      const machine = anyOf(world);
      const spenders = world.spenders.find((each) => each.machine === machine.name);
      world.machines.signal(machine, 'SIGSTOP');
      spenders?.signal('SIGSTOP');
      await wait(world, BEYOND_LEASES_MS);
      // Agents go on first, with what they believe to have.
      spenders?.signal('SIGCONT');
      await wait(world, 500);
      world.machines.signal(machine, 'SIGCONT');
    },
  },
  {
    name: 'old-disk',
    what: 'a machine comes back with an older state of its disk (B10)',
    needs: 'copies',
    strike: async (world) => {
      const { machines } = world;
      await world.whole();
      const machine = anyOf(world);
      await machines.kill(machine);
      const image = machines.keepImage(machine);
      await machines.start(machine);
      await wait(world, WHILE_MS);
      await machines.kill(machine);
      world.forgot(machine);
      machines.putBack(machine, image);
      await machines.start(machine);
      await world.whole();
    },
  },
  {
    name: 'copied-disk',
    what: 'a copy of the data of a machine runs beside it (B11)',
    needs: 'copies',
    strike: async (world) => {
      const { machines } = world;
      await world.whole();
      const machine = anyOf(world);
      await machines.kill(machine);
      const image = machines.keepImage(machine);
      const [copy] = await Promise.all([machines.startCopy(machine, image), machines.start(machine)]);
      const ends = endsAfter(2 * WHILE_MS, world.until);
      await world.spendOn(copy, ends);
      world.forgot(copy);
      world.forgot(machine);
      await machines.kill(copy);
      copy.control.close();
      // The others took the copy for the machine; started anew, the machine is itself again.
      await machines.kill(machine);
      await machines.start(machine);
      await world.whole();
    },
  },
  {
    name: 'lost-disk',
    what: 'the disk of a machine is lost, its key too or not (B12)',
    needs: 'copies',
    strike: async (world) => {
      const { machines } = world;
      await world.whole();
      const machine = anyOf(world);
      await machines.kill(machine);
      world.forgot(machine);
      machines.wipe(machine, { keepIdentity: world.dice() < 0.5 });
      await wait(world, 500);
      await machines.start(machine);
      await world.whole();
    },
  },
];

const SHARED: readonly Fault[] = FAULTS.filter(({ name }) =>
  [
    ...[
      'kill-leader',
      'kill-follower',
      'kill-all',
      'move',
      'isolate-leader',
      'halves',
      'ring',
      'one-way',
      'flap',
    ],
    ...[
      'kill-while-cut',
      'full-disk-follower',
      'sync-error-leader',
      'sync-error-follower',
      'slow-disk-leader',
    ],
    ...['slow-disk-follower', 'loss', 'clock', 'drift'],
  ].includes(name),
);

export const BUDGET_FAULTS: readonly BudgetFault[] = [...SHARED, ...OWN];

const ALL = BUDGET_FAULTS.map(({ name }) => name);

/** Names of faults by what a person calls for. */
export const BUDGET_SCENARIOS: Readonly<Record<string, readonly string[]>> = {
  budget: ALL,
  'budget-tree': ALL,
  'budget-short': ['kill-orchestrator', 'isolate-leader'],
  'budget-kills': ['kill-orchestrator', 'kill-leader', 'kill-follower', 'kill-all'],
  'budget-partitions': ['isolate-leader', 'halves', 'ring', 'one-way', 'flap', 'kill-while-cut', 'loss'],
  'budget-pauses': ['pause-orchestrator', 'pause-agents', 'pause-machine'],
  'budget-disks': [
    ...[
      'old-disk',
      'copied-disk',
      'lost-disk',
      'full-disk-follower',
      'sync-error-leader',
      'sync-error-follower',
    ],
    ...['slow-disk-leader', 'slow-disk-follower'],
  ],
  'budget-clocks': ['clock', 'drift', 'kill-orchestrator'],
  ...Object.fromEntries(BUDGET_FAULTS.map(({ name }) => [`budget-${name}`, [name]])),
};

function anyOf(world: World): Machine {
  return shuffled(world, world.machines.all)[0] as Machine;
}
