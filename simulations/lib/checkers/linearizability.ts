/**
 * Linearizability of a register history: every call took hold at one moment between its start and its end.
 *
 * A history is linearizable if and only if its part for each object is (Herlihy and Wing's locality), so keys are
 * checked one by one; keys that a transaction or a range touches together are one object. Beside that, revisions must
 * grow over the whole store as real time does. The checker knows nothing of the store but what `quorum-history.ts`
 * says, and imports nothing of it.
 */
import type { HistoryOperation } from '../quorum-history.ts';
import {
  claimedRevisions,
  hasWritten,
  isWithin,
  preparedCalls,
  type StoreOperation,
  touchedBy,
  valuesSeen,
  valuesWritten,
} from './linearizability-calls.ts';
import { type Register, type StoreState, storeModelFor } from './linearizability-model.ts';
import { type SearchResult, search } from './linearizability-search.ts';

export type LinearizabilityVerdict =
  | {
      readonly kind: 'linearizable';
      readonly operations: number;
      readonly parts: number;
      readonly steps: number;
    }
  | {
      readonly kind: 'violated';
      /** Keys of the part that is wrong. */
      readonly keys: readonly string[];
      readonly what: string;
      /** As few operations as were found to contradict each other, whatever else happened. */
      readonly window: readonly HistoryOperation[];
    }
  /** The search was given up; nothing is known. */
  | { readonly kind: 'undecided'; readonly keys: readonly string[]; readonly steps: number };

export interface LinearizabilityOptions {
  /** Of the search in one part; default 3 million, some seconds. */
  readonly mostSteps?: number;
}

export function checkLinearizability(
  history: readonly HistoryOperation[],
  options: LinearizabilityOptions = {},
): LinearizabilityVerdict {
  const operations = history.filter(({ outcome }) => outcome !== 'failed');
  const calls = preparedCalls(operations);
  const regress = revisionRegress(calls);
  if (regress !== undefined) return regress;
  const invented = inventedValue(calls);
  if (invented !== undefined) return invented;
  const claimed = claimedRevisions(calls);
  let steps = 0;
  let undecided: LinearizabilityVerdict | undefined;
  const parts = partsOf(operations);
  for (const part of parts) {
    const find = finderFor(claimed, part);
    const result = find(part.operations, options.mostSteps);
    steps += result.steps;
    if (result.kind === 'none') return violated(part, find);
    if (result.kind === 'undecided') undecided ??= { kind: 'undecided', keys: part.keys, steps };
  }
  return undecided ?? { kind: 'linearizable', operations: operations.length, parts: parts.length, steps };
}

interface Part {
  readonly keys: readonly string[];
  readonly operations: readonly HistoryOperation[];
}

type Find = (
  operations: readonly HistoryOperation[],
  mostSteps?: number,
) => SearchResult<StoreState, StoreOperation>;

/** Searches for an order of some of a part's operations, the other parts being as they are. */
function finderFor(claimed: readonly number[], part: Part): Find {
  const own = new Set(claimedRevisions(preparedCalls(part.operations)));
  const others = claimed.filter((revision) => !own.has(revision));
  return (operations, mostSteps) => {
    const calls = preparedCalls(operations);
    return search(storeModelFor(calls, [...others, ...claimedRevisions(calls)]), calls, mostSteps);
  };
}

/** Connected keys, with the operations on them, in the order of the history. */
function partsOf(operations: readonly HistoryOperation[]): readonly Part[] {
  const parents = new Map<string, string>();
  const rootOf = (key: string): string => {
    let root = key;
    for (let up = parents.get(root); up !== undefined && up !== root; up = parents.get(root)) root = up;
    parents.set(key, root);
    return root;
  };
  const touched = operations.map(touchedBy);
  for (const { keys } of touched) for (const key of keys) parents.set(key, key);
  const known = [...parents.keys()];
  const rootsOf = touched.map(({ keys, ranges }) => {
    const all = [...keys, ...known.filter((key) => ranges.some((range) => isWithin(key, range)))];
    const [first] = all;
    if (first === undefined) return undefined;
    for (const key of all) parents.set(rootOf(key), rootOf(first));
    return first;
  });
  const parts = new Map<string, { keys: string[]; operations: HistoryOperation[] }>();
  const partAt = (root: string) => {
    const part = parts.get(root) ?? { keys: [], operations: [] };
    parts.set(root, part);
    return part;
  };
  for (const key of known) partAt(rootOf(key)).keys.push(key);
  for (const [index, operation] of operations.entries()) {
    const key = rootsOf[index];
    // A range without any key of the history in it, or a transaction without operations: a part of its own.
    partAt(key === undefined ? `\u0000${index}` : rootOf(key)).operations.push(operation);
  }
  return [...parts.values()];
}

/**
 * Over all keys: who ended saw a revision no greater than who began later, less than a later write's, and no two
 * writes have the same.
 */
function revisionRegress(calls: readonly StoreOperation[]): LinearizabilityVerdict | undefined {
  const told = calls.flatMap((call) => {
    const { at, source } = call;
    return at === undefined ? [] : [{ operation: source, at, writes: hasWritten(call) }];
  });
  const byStart = told.toSorted((left, right) => left.operation.start - right.operation.start);
  const byEnd = told.toSorted((left, right) => left.operation.end - right.operation.end);
  const writers = new Map<number, HistoryOperation>();
  let newest: (typeof told)[number] | undefined;
  let ended = 0;
  for (const each of byStart) {
    for (
      let next = byEnd[ended];
      next !== undefined && next.operation.end < each.operation.start;
      next = byEnd[++ended]
    )
      if (newest === undefined || next.at > newest.at) newest = next;
    if (newest !== undefined && (each.at < newest.at || (each.writes && each.at === newest.at)))
      return revisionsViolated(newest.operation, each.operation, `revision ${each.at} after ${newest.at}`);
    const twin = each.writes ? writers.get(each.at) : undefined;
    if (twin !== undefined) return revisionsViolated(twin, each.operation, `revision ${each.at} twice`);
    if (each.writes) writers.set(each.at, each.operation);
  }
  return undefined;
}

/** What a search would find as well, after long work: somebody saw what nobody can have written. */
function inventedValue(calls: readonly StoreOperation[]): LinearizabilityVerdict | undefined {
  const written = new Set(calls.flatMap(valuesWritten));
  for (const call of calls) {
    const value = valuesSeen(call).find((seen) => !written.has(seen));
    if (value === undefined) continue;
    const keys = touchedBy(call.source).keys;
    return { kind: 'violated', keys, what: 'a value was read that nobody wrote', window: [call.source] };
  }
  return undefined;
}

function revisionsViolated(
  first: HistoryOperation,
  second: HistoryOperation,
  what: string,
): LinearizabilityVerdict {
  const keys = [...new Set([first, second].flatMap((operation) => touchedBy(operation).keys))];
  return { kind: 'violated', keys, what: `the store gave ${what}`, window: [first, second] };
}

function violated(part: Part, find: Find): LinearizabilityVerdict {
  const prefix = shortestBad(part.operations, find);
  const result = find(prefix);
  const { state, stuck } = result.kind === 'none' ? result : { state: undefined, stuck: [] };
  const stands = [...(state?.registers ?? [])].map(
    ([key, { value, revision }]) => `${key} = ${value} (revision ${revision ?? '?'})`,
  );
  const next = stuck.map(({ source }) => describeOperation(source)).join('; ');
  const what = `with ${stands.join(', ') || 'no key there'} none of these can come next: ${next}`;
  const window = smallestWindow(part.keys, prefix) ?? answered(prefix).slice(-SHOWN);
  return { kind: 'violated', keys: part.keys, what, window };
}

const SHOWN = 30;

function answered(operations: readonly HistoryOperation[]): readonly HistoryOperation[] {
  return operations.filter(({ outcome }) => outcome === 'ok');
}

/** Cut off after the first answer that cannot be: what was under way then may have happened, or not. */
function shortestBad(part: readonly HistoryOperation[], find: Find): readonly HistoryOperation[] {
  const ends = answered(part)
    .map(({ end }) => end)
    .sort((left, right) => left - right);
  let [good, bad] = [-1, ends.length - 1];
  while (bad - good > 1) {
    const middle = (good + bad) >> 1;
    if (find(cutAt(part, ends[middle] as number), SHRINK_STEPS).kind === 'none') bad = middle;
    else good = middle;
  }
  return cutAt(part, ends[bad] ?? Number.POSITIVE_INFINITY);
}

/** What one search may take while the window is made small. */
const SHRINK_STEPS = 200_000;

/**
 * The last calls of a bad history that contradict each other whatever stood in the store before them, and of those
 * without the ones that are not needed: a proof that a person can read. Undefined where there is none so short, or
 * several keys belong together.
 */
function smallestWindow(
  keys: readonly string[],
  prefix: readonly HistoryOperation[],
): readonly HistoryOperation[] | undefined {
  const [key] = keys;
  if (key === undefined || keys.length > 1 || prefix.some(comparesVersions)) return undefined;
  const byStart = answered(prefix).toSorted((left, right) => left.start - right.start);
  for (let size = 2; size <= 2 * byStart.length && size <= MOST_WINDOW; size *= 2) {
    const from = byStart.at(-size)?.start ?? 0;
    if (!isBadAnyway(key, fromThere(prefix, from))) continue;
    let window = fromThere(prefix, from);
    for (const operation of answered(window)) {
      const without = window.flatMap((each) => (each === operation ? forgiven(each) : [each]));
      if (isBadAnyway(key, without)) window = without;
    }
    return answered(window);
  }
  return undefined;
}

const MOST_WINDOW = 256;

/** Calls from then on; of those that had begun before, what they wrote may have been there already. */
function fromThere(operations: readonly HistoryOperation[], from: number): readonly HistoryOperation[] {
  return operations
    .filter(({ end }) => end >= from)
    .flatMap((operation) => (operation.start >= from ? [withoutVersions(operation)] : forgiven(operation)));
}

/** Whatever the key held at the beginning: nothing, a value that is seen later, or another. */
function isBadAnyway(key: string, window: readonly HistoryOperation[]): boolean {
  const calls = preparedCalls(window, false);
  const held = new Map<string, Register>();
  const base = { above: 0, createRevision: undefined, version: 0, lease: 0 };
  held.set('', { ...base, value: '\u0000another', revision: undefined });
  for (const { answers, compares } of calls) {
    for (const answer of answers) {
      const found = answer?.op === 'get' ? [answer.found] : answer?.op === 'range' ? answer.found : [];
      for (const entry of found)
        if (entry !== null)
          held.set(`${entry.revision}/${entry.value}`, {
            ...base,
            value: entry.value,
            revision: entry.revision,
          });
    }
    for (const compare of compares)
      if (compare.target === 'value' && compare.than !== null)
        held.set(`/${compare.than}`, { ...base, value: compare.than, revision: undefined });
  }
  const claimed = claimedRevisions(calls);
  return [undefined, ...held.values()].every((register) => {
    const registers = new Map(register === undefined ? [] : [[key, register] as const]);
    return (
      search(storeModelFor(calls, claimed, { registers, revision: 0 }), calls, SHRINK_STEPS).kind === 'none'
    );
  });
}

function comparesVersions(operation: HistoryOperation): boolean {
  return (
    operation.kind === 'transaction' &&
    operation.input.compares.some(({ target }) => target !== 'value' && target !== 'revision')
  );
}

/** How often a key was written before is not known within a window. */
function withoutVersions(operation: HistoryOperation): HistoryOperation {
  return JSON.parse(JSON.stringify(operation), (name, value) => {
    if (name === 'version' || name === 'createRevision') return undefined;
    return name === 'end' && value === null ? Number.POSITIVE_INFINITY : value;
  }) as HistoryOperation;
}

function cutAt(part: readonly HistoryOperation[], end: number): readonly HistoryOperation[] {
  return part
    .filter(({ start }) => start <= end)
    .map((operation) => (operation.end <= end ? operation : lostAnswer(operation)));
}

function lostAnswer(operation: HistoryOperation): HistoryOperation {
  const { output: _output, ...asked } = operation;
  return { ...asked, end: Number.POSITIVE_INFINITY, outcome: 'unknown' } as HistoryOperation;
}

/** Nothing of what only looked, and of what wrote that it may have. */
function forgiven(operation: HistoryOperation): readonly HistoryOperation[] {
  if (operation.kind === 'get' || operation.kind === 'range') return [];
  if (operation.outcome === 'unknown') return [operation];
  return [lostAnswer(operation)];
}

export function describeOperation(operation: HistoryOperation): string {
  const { client, kind, key, start, end } = operation;
  const shown = [
    'input' in operation ? JSON.stringify(operation.input) : '',
    operation.output === undefined ? '' : `-> ${JSON.stringify(operation.output)}`,
  ].filter((text) => text !== '');
  const until = end === Number.POSITIVE_INFINITY ? '?' : ms(end);
  return `client ${client} ${kind} ${key === '' ? '' : `${key} `}${shown.join(' ')} [${ms(start)} to ${until} ms]`;
}

function ms(ns: number): string {
  return (ns / 1e6).toFixed(3);
}

export function describeVerdict(verdict: LinearizabilityVerdict): string {
  switch (verdict.kind) {
    case 'linearizable':
      return `linearizable: ${verdict.operations} operations in ${verdict.parts} parts, ${verdict.steps} steps`;
    case 'undecided':
      return `undecided after ${verdict.steps} steps, on ${verdict.keys.join(', ')}`;
    case 'violated':
      return [
        `NOT linearizable on ${verdict.keys.join(', ')}: ${verdict.what}`,
        ...verdict.window.map((operation) => `  ${describeOperation(operation)}`),
      ].join('\n');
  }
}
