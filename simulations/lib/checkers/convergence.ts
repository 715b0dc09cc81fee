/** All nodes hold the same: the same content by hash, and the same when asked as a caller asks. */
import type { BoardAnswers, Entry } from '../../../src/blackboard/api.ts';
import type { Cluster } from '../cluster.ts';
import type { SimulatedMachine } from '../machine.ts';
import { BOARD } from '../names.ts';

export function haveConverged(cluster: Cluster): boolean {
  const hashes = new Set(cluster.machines.map((machine) => machine.contentHash()));
  return hashes.size === 1 && !hashes.has(undefined);
}

/** Everything on the board as one node lists it, page by page. */
export function entriesOn(machine: SimulatedMachine): ReadonlyMap<string, Entry> {
  const entries = new Map<string, Entry>();
  let cursor: string | undefined;
  do {
    const range = { limit: 100, ...(cursor === undefined ? {} : { cursor }) };
    const answered = machine.look({ op: 'list', board: BOARD, ...range });
    if (!answered.ok) throw new Error(`${machine.name} does not list its board: ${answered.error.message}`);
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
