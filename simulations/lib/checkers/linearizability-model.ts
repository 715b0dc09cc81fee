/**
 * The sequential store that a history is held against: registers with revisions, versions and leases, written by
 * transactions one after another. Every call of a history is a transaction of it.
 *
 * Revisions count over the whole store, of which a checked part sees a few keys only; and a write whose answer was lost
 * has a revision that nobody knows yet. So the model keeps bounds: a write's revision lies above all that were seen
 * before it, and the first reader that tells it settles it.
 */
import type { FoundEntry, HistoryAnswer, HistoryCompare, HistoryStep } from '../quorum-history.ts';
import { isBefore, isWithin, type StoreOperation } from './linearizability-calls.ts';
import type { Model } from './linearizability-search.ts';

export interface Register {
  readonly value: string;
  /** `undefined`: not told yet, above `above`. */
  readonly revision: number | undefined;
  readonly above: number;
  readonly createRevision: number | undefined;
  readonly version: number;
  readonly lease: number;
}

export interface StoreState {
  /** Keys that exist. */
  readonly registers: ReadonlyMap<string, Register>;
  /** The store's revision is at least this. */
  readonly revision: number;
}

/**
 * Versions and creations are followed only where some operation tells or compares one: the fewer states the better.
 * `claimed` are revisions that are known to be those of certain writes, in whatever part of the store: a write whose
 * revision nobody was told has another one.
 */
export function storeModelFor(
  operations: readonly StoreOperation[],
  claimed: readonly number[],
  initial: StoreState = EMPTY,
): Model<StoreState, StoreOperation> {
  const rules: Rules = {
    versions: operations.some(tellsVersions),
    nextFree: operations.some(({ at }) => at !== undefined) ? nextFreeOf(claimed) : undefined,
  };
  return {
    initial,
    step: (state, operation) => step(rules, state, operation),
    textOf,
  };
}

const EMPTY: StoreState = { registers: new Map(), revision: 0 };

interface Rules {
  readonly versions: boolean;
  /** The least revision above this one that is nobody's; absent where revisions are not told. */
  readonly nextFree: ((revision: number) => number) | undefined;
}

function nextFreeOf(claimed: readonly number[]): (revision: number) => number {
  const free = new Map<number, number>();
  for (const revision of claimed.toSorted((left, right) => right - left))
    free.set(revision, free.get(revision + 1) ?? revision + 1);
  return (revision) => free.get(revision + 1) ?? revision + 1;
}

function tellsVersions({ compares, answers }: StoreOperation): boolean {
  const told = (found: FoundEntry) => found.version !== undefined || found.createRevision !== undefined;
  return (
    compares.some(({ target }) => target === 'version' || target === 'createRevision') ||
    answers.some((answer) => {
      if (answer?.op === 'get') return answer.found !== null && told(answer.found);
      return answer?.op === 'range' && answer.found.some(told);
    })
  );
}

const texts = new WeakMap<StoreState, string>();

function textOf(state: StoreState): string {
  let text = texts.get(state);
  if (text === undefined) {
    const registers = [...state.registers].sort(([left], [right]) => (left < right ? -1 : 1));
    text = JSON.stringify([
      state.revision,
      ...registers.map(([key, { value, revision, above, createRevision, version, lease }]) => [
        key,
        value,
        revision ?? -above,
        revision === undefined,
        createRevision,
        version,
        lease,
      ]),
    ]);
    texts.set(state, text);
  }
  return text;
}

function step(rules: Rules, state: StoreState, operation: StoreOperation): readonly StoreState[] {
  const { endsLease, at, compares, succeeded } = operation;
  // The revision that it saw lies behind what was placed before it already.
  if (at !== undefined && at < state.revision) return [];
  if (endsLease !== undefined) return endLease(rules, state, endsLease, at);
  const after: StoreState[] = [];
  for (const branch of [true, false]) {
    if (succeeded !== undefined && succeeded !== branch) continue;
    for (const believed of branch ? compared(state, compares) : refuted(state, compares))
      after.push(...carriedOut(rules, believed, branch ? operation.success : operation.failure, operation));
  }
  return after;
}

function endLease(
  rules: Rules,
  state: StoreState,
  lease: number,
  at: number | undefined,
): readonly StoreState[] {
  const left = [...state.registers].filter(([, register]) => register.lease !== lease);
  if (left.length === state.registers.size) return [state];
  return [{ registers: new Map(left), revision: at ?? rules.nextFree?.(state.revision) ?? state.revision }];
}

/** The state, perhaps with revisions settled, where every compare holds. */
function compared(state: StoreState, compares: readonly HistoryCompare[]): readonly StoreState[] {
  let believed: StoreState = state;
  for (const compare of compares) {
    const held = holds(believed, compare);
    if (held === false) return [];
    if (held === true) continue;
    if (compare.target === 'revision' && compare.is === '=')
      believed = settled(believed, compare.key, { revision: compare.than }) ?? believed;
  }
  return [believed];
}

/** The state where some compare may fail. */
function refuted(state: StoreState, compares: readonly HistoryCompare[]): readonly StoreState[] {
  return compares.some((compare) => holds(state, compare) !== true) ? [state] : [];
}

/** `undefined`: depends on a revision that is not settled. */
function holds(state: StoreState, compare: HistoryCompare): boolean | undefined {
  const register = state.registers.get(compare.key);
  if (compare.target === 'value') {
    const equal = (register?.value ?? null) === compare.than;
    return compare.is === '=' ? equal : !equal;
  }
  if (register === undefined) return isSo(0, compare.is, compare.than);
  if (compare.target === 'revision' && register.revision === undefined && compare.than <= register.above)
    return compare.is === '!=' || compare.is === '>';
  const value = register[compare.target];
  return value === undefined ? undefined : isSo(value, compare.is, compare.than);
}

function isSo(value: number, is: '=' | '!=' | '<' | '>', than: number): boolean {
  if (is === '=') return value === than;
  if (is === '!=') return value !== than;
  return is === '<' ? value < than : value > than;
}

/** What is now known of a register; `undefined` where it contradicts what was known. */
function settled(
  state: StoreState,
  key: string,
  told: Pick<FoundEntry, 'revision' | 'createRevision'>,
): StoreState | undefined {
  const register = state.registers.get(key);
  if (register === undefined) return undefined;
  const revision = register.revision ?? told.revision;
  const createRevision =
    register.createRevision ??
    (register.version === 1 ? (revision ?? told.createRevision) : told.createRevision);
  if (told.revision !== undefined && told.revision !== revision) return undefined;
  if (told.createRevision !== undefined && told.createRevision !== createRevision) return undefined;
  if (revision !== undefined && revision <= register.above) return undefined;
  if (revision === register.revision && createRevision === register.createRevision) return state;
  const registers = new Map(state.registers).set(key, { ...register, revision, createRevision });
  return { ...state, registers, revision: Math.max(state.revision, revision ?? 0) };
}

function carriedOut(
  rules: Rules,
  before: StoreState,
  steps: readonly HistoryStep[],
  operation: StoreOperation,
): readonly StoreState[] {
  const { at, answers } = operation;
  let state: StoreState | undefined = before;
  const newest = at ?? rules.nextFree?.(before.revision) ?? before.revision + 1;
  let changed = false;
  for (const [index, each] of steps.entries()) {
    const answer = answers[index];
    if (answer !== undefined && answer.op !== each.op) return [];
    if (each.op === 'put') {
      state = written(rules, state, each, at, newest - 1);
      changed = true;
    } else if (each.op === 'delete') {
      const gone = keysOf(state, each);
      if (answer?.op === 'delete' && answer.deleted !== undefined && answer.deleted !== gone.length)
        return [];
      if (gone.length > 0) state = without(state, gone);
      changed ||= gone.length > 0;
    } else state = seen(state, each, answer);
    if (state === undefined) return [];
  }
  if (changed) {
    // Each change has a revision of its own.
    if (newest <= before.revision || newest < state.revision) return [];
    return [
      { ...state, revision: at !== undefined || rules.nextFree !== undefined ? newest : before.revision },
    ];
  }
  if (at === undefined || at === state.revision) return [state];
  return at < state.revision ? [] : [{ ...state, revision: at }];
}

function written(
  rules: Rules,
  state: StoreState,
  put: Extract<HistoryStep, { op: 'put' }>,
  at: number | undefined,
  above: number,
): StoreState {
  const old = state.registers.get(put.key);
  const register: Register = {
    value: put.value,
    revision: at,
    above,
    createRevision: !rules.versions ? undefined : old === undefined ? at : old.createRevision,
    version: rules.versions ? (old?.version ?? 0) + 1 : 0,
    lease: put.lease ?? 0,
  };
  return { ...state, registers: new Map(state.registers).set(put.key, register) };
}

function keysOf(
  state: StoreState,
  { key, to }: { readonly key: string; readonly to?: string },
): readonly string[] {
  if (to === undefined) return state.registers.has(key) ? [key] : [];
  return [...state.registers.keys()].filter((other) => isWithin(other, { key, to }));
}

function without(state: StoreState, keys: readonly string[]): StoreState {
  const registers = new Map(state.registers);
  for (const key of keys) registers.delete(key);
  return { ...state, registers };
}

function seen(
  state: StoreState,
  step: Extract<HistoryStep, { op: 'get' | 'range' }>,
  answer: HistoryAnswer | undefined,
): StoreState | undefined {
  if (answer === undefined) return state;
  if (answer.op === 'get')
    return answer.found === null
      ? state.registers.has(step.key)
        ? undefined
        : state
      : seenEntry(state, { ...answer.found, key: step.key });
  if (answer.op !== 'range' || step.op !== 'range') return undefined;
  const keys = keysOf(state, step).toSorted((left, right) => (isBefore(left, right) ? -1 : 1));
  const shown = keys.slice(0, step.limit ?? keys.length);
  if (answer.more !== undefined && answer.more !== keys.length > shown.length) return undefined;
  if (shown.length !== answer.found.length) return undefined;
  let after: StoreState | undefined = state;
  for (const [index, entry] of answer.found.entries()) {
    if (entry.key !== shown[index]) return undefined;
    after = seenEntry(after, entry);
    if (after === undefined) return undefined;
  }
  return after;
}

function seenEntry(state: StoreState, found: FoundEntry): StoreState | undefined {
  const register = state.registers.get(found.key);
  if (register === undefined || register.value !== found.value) return undefined;
  if (found.version !== undefined && found.version !== register.version) return undefined;
  return settled(state, found.key, found);
}
