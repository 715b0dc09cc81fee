/**
 * What is done to the machines of a live run, one after the other. Each fault strikes, waits while the load goes on, and
 * puts right what it did; so that a run that is cut short may leave a fault, and the healing at the end ends it.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { votersOf } from './judge.ts';
import type { Ability, Machine, Machines } from './machines.ts';
import { apart, oneWay, ring } from './network.ts';
import type { Tampering } from './tracer.ts';

export interface World {
  readonly machines: Machines;
  readonly dice: () => number;
  readonly until: AbortSignal;
  /** As some node sees it now. */
  leader(): Promise<Machine | undefined>;
  /** Waits until as many vote as are wanted; throws where they do not come. */
  whole(): Promise<void>;
}

export interface Fault {
  readonly name: string;
  readonly what: string;
  readonly needs?: Ability;
  strike(world: World): Promise<void>;
}

/** Thrice the election time-out, and then some. */
const LONG_MS = 3_500;

export const FAULTS: readonly Fault[] = [
  {
    name: 'kill-leader',
    what: 'kill -9 of the leader (K24)',
    strike: async (world) => restarted(world, [await leaderOf(world)], 1_500),
  },
  {
    name: 'kill-follower',
    what: 'kill -9 of a follower (K25)',
    strike: async (world) => restarted(world, [await followerOf(world)], 1_500),
  },
  {
    name: 'kill-all',
    what: 'kill -9 of all at once (K26)',
    strike: async (world) => restarted(world, world.machines.all, 0),
  },
  {
    name: 'move',
    what: 'a machine comes back at another port (K44)',
    strike: async (world) => restarted(world, [anyOf(world)], 500, { elsewhere: true }),
  },
  {
    name: 'pause-leader',
    what: 'SIGSTOP of the leader beyond the election time-out (K27)',
    strike: async (world) => paused(world, await leaderOf(world)),
  },
  {
    name: 'pause-follower',
    what: 'SIGSTOP of a follower beyond the election time-out (K27)',
    strike: async (world) => paused(world, await followerOf(world)),
  },
  {
    name: 'isolate-leader',
    what: 'the leader cut off from all (K21)',
    needs: 'partitions',
    strike: async (world) => {
      const leader = await leaderOf(world);
      await cutFor(world, apart(world.machines.all.length, [leader.place]), LONG_MS);
    },
  },
  {
    name: 'halves',
    what: 'majority and minority (K21)',
    needs: 'partitions',
    strike: async (world) => {
      const { all } = world.machines;
      const side = shuffled(world, all).slice(0, Math.max(1, Math.floor((all.length - 1) / 2)));
      await cutFor(
        world,
        apart(
          all.length,
          side.map(({ place }) => place),
        ),
        LONG_MS,
      );
    },
  },
  {
    name: 'ring',
    what: 'every machine sees another majority (K22)',
    needs: 'partitions',
    strike: (world) => cutFor(world, ring(world.machines.all.length), LONG_MS),
  },
  {
    name: 'one-way',
    what: 'the leader is heard, or hears, but not both (K23)',
    needs: 'partitions',
    strike: async (world) => {
      const { place } = await leaderOf(world);
      const what = world.dice() < 0.5 ? 'deaf' : 'mute';
      await cutFor(world, oneWay(world.machines.all.length, place, what), LONG_MS);
    },
  },
  {
    name: 'flap',
    what: 'a machine cut off and back every half second (K23)',
    needs: 'partitions',
    strike: async (world) => {
      const { place } = anyOf(world);
      for (let times = 0; times < 4 && !world.until.aborted; times++) {
        await cutFor(world, apart(world.machines.all.length, [place]), 500);
        await wait(world, 500);
      }
    },
  },
  {
    name: 'kill-while-cut',
    what: 'the leader cut off, and meanwhile kill -9 of it and of another (K21, K24)',
    needs: 'partitions',
    strike: async (world) => {
      const leader = await leaderOf(world);
      const other = await followerOf(world);
      world.machines.cut(apart(world.machines.all.length, [leader.place]));
      await wait(world, 1_000);
      await restarted(world, [other], 500);
      await restarted(world, [leader], 0);
      world.machines.cut([]);
    },
  },
  {
    name: 'wipe-kept-key',
    what: 'the disk of a machine is lost, but not its key (K37)',
    needs: 'copies',
    strike: (world) => wiped(world, true),
  },
  {
    name: 'wipe',
    what: 'the disk of a machine is lost, its key too (K37)',
    needs: 'copies',
    strike: (world) => wiped(world, false),
  },
  {
    name: 'full-disk-leader',
    what: 'the disk of the leader is full (K31)',
    needs: 'disks',
    strike: async (world) => fullDisk(world, await leaderOf(world)),
  },
  {
    name: 'full-disk-follower',
    what: 'the disk of a follower is full (K31)',
    needs: 'disks',
    strike: async (world) => fullDisk(world, await followerOf(world)),
  },
  {
    name: 'sync-error-leader',
    what: 'the disk of the leader fails what is to be forced down (K32)',
    needs: 'tracing',
    strike: async (world) => tampered(world, await leaderOf(world), { kind: 'syncFails' }),
  },
  {
    name: 'sync-error-follower',
    what: 'the disk of a follower fails what is to be forced down (K32)',
    needs: 'tracing',
    strike: async (world) => tampered(world, await followerOf(world), { kind: 'syncFails' }),
  },
  {
    name: 'slow-disk-leader',
    what: 'the disk of the leader takes a second for each sync (K41)',
    needs: 'tracing',
    strike: async (world) => tampered(world, await leaderOf(world), { kind: 'syncIsSlow', ms: 1_000 }),
  },
  {
    name: 'slow-disk-follower',
    what: 'the disk of a follower takes a second for each sync (K41)',
    needs: 'tracing',
    strike: async (world) => tampered(world, await followerOf(world), { kind: 'syncIsSlow', ms: 1_000 }),
  },
  {
    name: 'loss',
    what: 'every tenth to third frame is lost',
    needs: 'partitions',
    strike: async (world) => {
      world.machines.lose(10 + Math.floor(world.dice() * 24));
      await wait(world, LONG_MS);
      world.machines.lose(0);
    },
  },
  {
    name: 'narrow-leader',
    what: 'what goes to the leader queues behind a narrow line, up to 400 ms',
    needs: 'narrow',
    strike: async (world) => {
      const leader = await leaderOf(world);
      world.machines.narrow(leader, 200);
      await wait(world, LONG_MS);
      world.machines.widen(leader);
    },
  },
  {
    name: 'replace-voter',
    what: 'a person takes the vote of a member away, and gives it to another or back (K34, K35)',
    needs: 'copies',
    strike: replaceVoter,
  },
  {
    name: 'replace-voter-while-cut',
    what: 'the same, while the leader is cut off (K34)',
    needs: 'partitions',
    strike: async (world) => {
      if (world.machines.lacking.has('copies')) return;
      await world.whole();
      const { place } = await leaderOf(world);
      world.machines.cut(apart(world.machines.all.length, [place]));
      const replacing = replaceVoter(world);
      await wait(world, LONG_MS);
      world.machines.cut([]);
      await replacing;
    },
  },
  {
    name: 'drift',
    what: 'the clock of a machine goes twice as fast, or half (K28)',
    needs: 'clocks',
    strike: async (world) => {
      const { machines } = world;
      const machine = world.dice() < 0.5 ? await leaderOf(world) : anyOf(world);
      machines.setClock(machine, 0, world.dice() < 0.5 ? 2 : 0.5);
      await wait(world, LONG_MS);
      machines.setClock(machine, 0);
    },
  },
  {
    name: 'clock',
    what: 'the clock of a machine jumps by up to an hour, and back (K28)',
    needs: 'clocks',
    strike: async (world) => {
      const { machines } = world;
      const machine = world.dice() < 0.5 ? await leaderOf(world) : anyOf(world);
      const steps = [-3_600, -30, 30, 3_600];
      machines.setClock(machine, steps[Math.floor(world.dice() * steps.length)] as number);
      await wait(world, LONG_MS);
      machines.setClock(machine, 0);
    },
  },
];

/** Names of faults by what a person calls for. */
export const SCENARIOS: Readonly<Record<string, readonly string[]>> = {
  all: FAULTS.map(({ name }) => name),
  short: ['kill-leader', 'isolate-leader', 'pause-leader', 'one-way'],
  kills: ['kill-leader', 'kill-follower', 'kill-all', 'move'],
  pauses: ['pause-leader', 'pause-follower'],
  partitions: ['isolate-leader', 'halves', 'ring', 'one-way', 'flap', 'kill-while-cut'],
  disks: [
    ...['wipe-kept-key', 'wipe', 'full-disk-leader', 'full-disk-follower'],
    ...['sync-error-leader', 'sync-error-follower', 'slow-disk-leader', 'slow-disk-follower'],
  ],
  lines: ['loss', 'narrow-leader'],
  voters: ['replace-voter', 'replace-voter-while-cut', 'kill-leader'],
  clocks: ['clock', 'drift', 'kill-leader'],
};

async function restarted(
  world: World,
  machines: readonly Machine[],
  downMs: number,
  how: { readonly elsewhere?: boolean } = {},
): Promise<void> {
  await Promise.all(machines.map((machine) => world.machines.kill(machine)));
  await wait(world, downMs);
  await Promise.all(machines.map((machine) => world.machines.start(machine, how)));
}

async function paused(world: World, machine: Machine): Promise<void> {
  world.machines.signal(machine, 'SIGSTOP');
  await wait(world, LONG_MS);
  world.machines.signal(machine, 'SIGCONT');
}

async function cutFor(
  { machines, until }: World,
  cuts: Parameters<Machines['cut']>[0],
  ms: number,
): Promise<void> {
  machines.cut(cuts);
  await wait({ until }, ms);
  machines.cut([]);
}

/** Only one disk at a time: of three voters two without memory would be a majority that forgot. */
async function wiped(world: World, keepIdentity: boolean): Promise<void> {
  const { machines } = world;
  await world.whole();
  const machine = anyOf(world);
  await machines.kill(machine);
  machines.wipe(machine, { keepIdentity });
  await wait(world, 500);
  await machines.start(machine);
  await world.whole();
}

async function fullDisk(world: World, machine: Machine): Promise<void> {
  const { machines } = world;
  machines.mayFall(machine);
  machines.fillDisk(machine);
  await wait(world, LONG_MS);
  machines.emptyDisk(machine);
  if (machines.node(machine) === undefined) await machines.start(machine);
}

/** A node whose disk fails may end; it is started again once the disk is well. */
async function tampered(world: World, machine: Machine, tampering: Tampering): Promise<void> {
  const { machines } = world;
  machines.mayFall(machine);
  await machines.tamper(machine, tampering);
  await wait(world, LONG_MS);
  await machines.leaveAlone(machine);
  if (machines.node(machine) === undefined) await machines.start(machine);
}

/** Who has no vote gets one for good, then one that votes loses its own; where all vote, one loses it and has it back. */
async function replaceVoter(world: World): Promise<void> {
  const { machines, until } = world;
  const asked = anyOf(world);
  const view = await votersOf(asked);
  const votes = new Set(view?.voters.filter(({ role }) => role !== 'learner').map(({ nodeId }) => nodeId));
  const idOf = (machine: Machine) => machines.node(machine)?.ready.nodeId;
  const order = async (what: 'PUT' | 'DELETE', machine: Machine | undefined) => {
    const id = machine && idOf(machine);
    for (let tries = 0; id !== undefined && tries < 20 && !until.aborted; tries++) {
      const signal = endsAfter(5_000, until);
      const isDone = await asked.control.call(what, `/v1/voters/${id}`, { signal }).then(
        () => true,
        () => false,
      );
      if (isDone) return;
      await wait(world, 500);
    }
  };
  const voting = machines.all.filter((machine) => votes.has(idOf(machine) ?? ''));
  const spare = machines.all.find((machine) => !voting.includes(machine));
  const chosen = shuffled(world, voting)[0];
  await order('PUT', spare);
  await order('DELETE', chosen);
  if (spare === undefined) {
    await wait(world, 2_000);
    await order('PUT', chosen);
  }
  await world.whole();
}

async function leaderOf(world: World): Promise<Machine> {
  return (await world.leader()) ?? anyOf(world);
}

async function followerOf(world: World): Promise<Machine> {
  const leader = await world.leader();
  const others = world.machines.all.filter((machine) => machine !== leader);
  return shuffled(world, others)[0] ?? anyOf(world);
}

function anyOf(world: World): Machine {
  return shuffled(world, world.machines.all)[0] as Machine;
}

export function shuffled<T>({ dice }: Pick<World, 'dice'>, all: readonly T[]): readonly T[] {
  return all
    .map((each) => [dice(), each] as const)
    .sort(([left], [right]) => left - right)
    .map(([, each]) => each);
}

/** Aborted with `signal`, or after so long. Its timer holds it: a time-out that a combined signal alone knows is only weakly held, and a run had no end. */
export function endsAfter(ms: number, signal: AbortSignal): AbortSignal {
  const over = new AbortController();
  setTimeout(() => over.abort(), ms).unref();
  return AbortSignal.any([signal, over.signal]);
}

export async function wait({ until }: Pick<World, 'until'>, ms: number): Promise<void> {
  await delay(ms, undefined, { signal: until }).catch(() => {});
}
