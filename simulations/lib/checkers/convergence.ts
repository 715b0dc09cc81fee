/** All nodes hold the same: the same content by hash, and the same when asked as a caller asks. */
import type { BoardAnswers, Entry } from '../../../src/blackboard/api.ts';
import { toHex } from '../../../src/kernel/codec.ts';
import type { Result } from '../../../src/kernel/errors.ts';
import type { Cluster } from '../cluster.ts';
import type { SimulatedMachine } from '../machine.ts';
import { agentNamed, BOARD } from '../names.ts';

const CHECKER = agentNamed('checker');

/** Hashes over records and boards of one node; `undefined` while it does not run. */
export function contentHash(machine: SimulatedMachine): string | undefined {
  const { core } = machine;
  return core === undefined ? undefined : `${toHex(core.records.root)}/${toHex(core.boards.root())}`;
}

export function haveConverged(cluster: Cluster): boolean {
  const hashes = new Set(cluster.machines.map(contentHash));
  return hashes.size === 1 && !hashes.has(undefined);
}

/** Everything on the board as one node lists it, page by page. */
export function entriesOn(machine: SimulatedMachine): ReadonlyMap<string, Entry> {
  const entries = new Map<string, Entry>();
  let cursor: string | undefined;
  do {
    let answered: Result<unknown> | undefined;
    const call = {
      op: 'list',
      board: BOARD,
      limit: 100,
      ...(cursor === undefined ? {} : { cursor }),
    } as const;
    machine.call(call, CHECKER, (result) => {
      answered = result;
    });
    if (answered?.ok !== true) throw new Error(`${machine.name} did not list its board at once`);
    const page = answered.value as BoardAnswers['list'];
    for (const entry of page.entries) entries.set(entry.key, entry);
    cursor = page.cursor;
  } while (cursor !== undefined);
  return entries;
}

/** What differs between the nodes, as callers see it. */
export function contentDifferences(cluster: Cluster): readonly string[] {
  const [first, ...others] = cluster.machines;
  if (first === undefined) return [];
  const shown = (machine: SimulatedMachine) =>
    new Map([...entriesOn(machine)].map(([key, entry]) => [key, JSON.stringify(entry)]));
  const expected = shown(first);
  return others.flatMap((machine) => {
    const found = shown(machine);
    const keys = new Set([...expected.keys(), ...found.keys()]);
    return [...keys]
      .filter((key) => expected.get(key) !== found.get(key))
      .map((key) => `${key}: ${first.name} has ${expected.get(key)}, ${machine.name} has ${found.get(key)}`);
  });
}
