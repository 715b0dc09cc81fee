/** All nodes hold the same: the same content by hash, and the same when asked as a caller asks. */
import type { BoardAnswers, Entry } from '../../../src/blackboard/api.ts';
import type { Cluster } from '../cluster.ts';
import { textsOf } from '../history.ts';
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

/** What differs between the nodes, as callers see it: every node against the first. */
export function contentDifferences(cluster: Cluster): readonly string[] {
  const [first, ...others] = cluster.machines;
  if (first === undefined) return [];
  const expected = entriesOn(first);
  return others.flatMap((machine) => {
    const found = entriesOn(machine);
    const keys = new Set([...expected.keys(), ...found.keys()]);
    return [...keys].flatMap((key) => {
      const [left, right] = [expected.get(key), found.get(key)];
      if (JSON.stringify(left) === JSON.stringify(right)) return [];
      return [`${key}: ${first.name} has ${shown(left, right)}, ${machine.name} has ${shown(right, left)}`];
    });
  });
}

const SHOWN_TEXTS = 8;

/** An entry in a few words: its revision, and of its texts those that the other one lacks. */
function shown(entry: Entry | undefined, other: Entry | undefined): string {
  if (entry === undefined) return 'nothing';
  const texts = textsOf(entry.value);
  const known = new Set(textsOf(other?.value ?? null));
  const own = texts.filter((text) => !known.has(text));
  const few = own.slice(0, SHOWN_TEXTS).join(' ');
  return `${texts.length} at revision ${entry.revision}, ${own.length} of them alone: ${few}`;
}
