/** The calls of a history as transactions of the model, with what can be known about them before any search. */
import type {
  FoundEntry,
  HistoryAnswer,
  HistoryCompare,
  HistoryOperation,
  HistoryStep,
} from '../quorum-history.ts';
import type { SearchOperation } from './linearizability-search.ts';

/** A call as a transaction, with what it answered as far as that is known. */
export interface StoreOperation extends SearchOperation {
  readonly source: HistoryOperation;
  readonly compares: readonly HistoryCompare[];
  readonly success: readonly HistoryStep[];
  readonly failure: readonly HistoryStep[];
  /** Takes away every register of the part that hangs on this lease. */
  readonly endsLease: number | undefined;
  readonly succeeded: boolean | undefined;
  readonly at: number | undefined;
  readonly answers: readonly (HistoryAnswer | undefined)[];
}

function storeOperation(source: HistoryOperation): StoreOperation {
  const { key, start, end } = source;
  const base = {
    source,
    start,
    end,
    isCertain: source.outcome === 'ok',
    order: undefined,
    twins: undefined,
    compares: [],
    failure: [],
    endsLease: undefined,
    succeeded: undefined,
    at: source.output?.at,
    answers: [],
  };
  const found = (entry: FoundEntry | null | undefined): readonly (HistoryAnswer | undefined)[] =>
    entry === undefined ? [] : [{ op: 'get', found: entry }];
  switch (source.kind) {
    case 'put': {
      const { value, lease = 0 } = source.input;
      return { ...base, success: [{ op: 'put', key, value, lease }] };
    }
    case 'get':
      return { ...base, success: [{ op: 'get', key }], answers: found(source.output?.found) };
    case 'delete': {
      const deleted = source.output?.deleted;
      const answers: readonly HistoryAnswer[] = deleted === undefined ? [] : [{ op: 'delete', deleted }];
      return { ...base, success: [{ op: 'delete', key }], answers };
    }
    case 'compareAndSet': {
      const { input, output } = source;
      const compare: HistoryCompare =
        'revision' in input
          ? { target: 'revision', key, is: '=', than: input.revision }
          : { target: 'value', key, is: '=', than: input.expected };
      return {
        ...base,
        compares: [compare],
        success: [{ op: 'put', key, value: input.value }],
        failure: [{ op: 'get', key }],
        succeeded: output?.succeeded,
        answers: output?.succeeded === false ? found(output.found) : [],
      };
    }
    case 'range': {
      const { input, output } = source;
      const { to, limit } = input;
      const step: HistoryStep = { op: 'range', key, to, ...(limit === undefined ? {} : { limit }) };
      const answers: readonly HistoryAnswer[] =
        output === undefined
          ? []
          : [
              {
                op: 'range',
                found: output.found,
                ...(output.more === undefined ? {} : { more: output.more }),
              },
            ];
      return { ...base, success: [step], answers };
    }
    case 'transaction': {
      const { input, output } = source;
      return { ...base, ...input, succeeded: output?.succeeded, answers: output?.answers ?? [] };
    }
    case 'leaseEnd':
      return { ...base, success: [], endsLease: source.input.lease };
  }
}

/**
 * What a search is given: calls that only looked and lost their answer are left out; a write of unknown outcome whose
 * value was seen did take hold, with the revision that was seen; those whose value nobody ever mentions are alike.
 * Where the history is not whole, what was seen may have been written before it.
 */
export function preparedCalls(
  history: readonly HistoryOperation[],
  isWhole = true,
): readonly StoreOperation[] {
  const calls = history.map(storeOperation).filter((call) => call.isCertain || mayChange(call));
  const seen = seenValues(calls);
  const writers = new Map<string, StoreOperation[]>();
  for (const call of calls) {
    for (const text of new Set(valuesWritten(call))) {
      const others = writers.get(text);
      if (others === undefined) writers.set(text, [call]);
      else others.push(call);
    }
  }
  const isAlone = (call: StoreOperation, text: string) =>
    writers.get(text)?.every((other) => other === call) === true;
  return calls.map((call) => {
    const settled = call.isCertain || !isWhole ? call : (pinned(call, seen, isAlone) ?? call);
    if (!settled.isCertain) return { ...settled, twins: twinsOf(settled, seen) };
    return { ...settled, order: orderOf(settled) };
  });
}

/** Of every value that somebody saw or compared with: its revision, where that was told. */
type Seen = ReadonlyMap<string, { readonly isCertain: boolean; readonly revision: number | undefined }>;

function seenValues(calls: readonly StoreOperation[]): Seen {
  const seen = new Map<string, { isCertain: boolean; revision: number | undefined }>();
  const see = (key: string, value: string, isCertain: boolean, revision?: number) => {
    const old = seen.get(valueText(key, value));
    seen.set(valueText(key, value), {
      isCertain: isCertain || old?.isCertain === true,
      revision: old?.revision ?? revision,
    });
  };
  for (const { compares, succeeded, answers, success, failure } of calls) {
    for (const compare of compares)
      if (compare.target === 'value' && compare.than !== null)
        see(compare.key, compare.than, succeeded === true && compare.is === '=');
    for (const [index, answer] of answers.entries()) {
      const step = (succeeded === false ? failure : success)[index];
      if (answer?.op === 'range')
        for (const entry of answer.found) see(entry.key, entry.value, true, entry.revision);
      if (answer?.op === 'get' && answer.found !== null && step !== undefined)
        see(step.key, answer.found.value, true, answer.found.revision);
    }
  }
  return seen;
}

/** The call as one that took hold, where a value was seen that only it writes, in one of its branches. */
function pinned(
  call: StoreOperation,
  seen: Seen,
  isAlone: (call: StoreOperation, text: string) => boolean,
): StoreOperation | undefined {
  const texts = (steps: readonly HistoryStep[]) =>
    steps.flatMap((step) => (step.op === 'put' ? [valueText(step.key, step.value)] : []));
  const [inSuccess, inFailure] = [new Set(texts(call.success)), new Set(texts(call.failure))];
  for (const text of [...inSuccess, ...inFailure]) {
    const sight = seen.get(text);
    if (sight === undefined || !sight.isCertain || !isAlone(call, text)) continue;
    if (inSuccess.has(text) && inFailure.has(text)) continue;
    return { ...call, isCertain: true, succeeded: inSuccess.has(text), at: sight.revision };
  }
  return undefined;
}

function twinsOf({ compares, success, failure, endsLease }: StoreOperation, seen: Seen): string {
  const plain = (steps: readonly HistoryStep[]) =>
    steps.map((step) =>
      step.op === 'put' && !seen.has(valueText(step.key, step.value)) ? { ...step, value: null } : step,
    );
  return JSON.stringify([compares, plain(success), plain(failure), endsLease]);
}

/** By revision; of one revision what wrote before what saw it. Absent where it is not told whether it wrote. */
function orderOf(call: StoreOperation): number | undefined {
  if (call.at === undefined) return undefined;
  if (hasWritten(call)) return call.at;
  return mayChange(call) ? undefined : call.at + 0.5;
}

/** Whether it certainly changed something. */
export function hasWritten(call: StoreOperation): boolean {
  return call.isCertain && changes(call) === 'yes';
}

function mayChange(call: StoreOperation): boolean {
  return changes(call) !== 'no';
}

function changes(call: StoreOperation): 'yes' | 'no' | 'perhaps' {
  const { compares, success, failure, succeeded = compares.length === 0 ? true : undefined, answers } = call;
  if (call.endsLease !== undefined) return 'perhaps';
  if (succeeded === undefined)
    return [...success, ...failure].some(({ op }) => op === 'put' || op === 'delete') ? 'perhaps' : 'no';
  let found: 'no' | 'perhaps' = 'no';
  for (const [index, { op }] of (succeeded ? success : failure).entries()) {
    const answer = answers[index];
    if (op === 'put') return 'yes';
    if (op !== 'delete') continue;
    if (answer?.op !== 'delete' || answer.deleted === undefined) found = 'perhaps';
    else if (answer.deleted > 0) return 'yes';
  }
  return found;
}

/** Revisions that are certainly those of other writes than the ones whose revision nobody was told. */
export function claimedRevisions(calls: readonly StoreOperation[]): readonly number[] {
  return calls.flatMap((call) => (call.at !== undefined && hasWritten(call) ? [call.at] : []));
}

/** Each with its key, in either branch. */
export function valuesWritten({ success, failure }: StoreOperation): readonly string[] {
  return [...success, ...failure].flatMap((step) =>
    step.op === 'put' ? [valueText(step.key, step.value)] : [],
  );
}

/** Each with its key, in what was answered. */
export function valuesSeen({ answers, succeeded, success, failure }: StoreOperation): readonly string[] {
  return answers.flatMap((answer, index) => {
    const step = (succeeded === false ? failure : success)[index];
    if (answer?.op === 'range') return answer.found.map(({ key, value }) => valueText(key, value));
    if (answer?.op !== 'get' || answer.found === null || step === undefined) return [];
    return [valueText(step.key, answer.found.value)];
  });
}

function valueText(key: string, value: string): string {
  return `${key}\u0000${value}`;
}

/** Keys that the operation names, and ranges of keys. */
export function touchedBy(source: HistoryOperation): {
  readonly keys: readonly string[];
  readonly ranges: readonly { readonly key: string; readonly to: string }[];
} {
  const { compares, success, failure } = storeOperation(source);
  const steps = [...success, ...failure];
  return {
    keys: [
      ...(source.kind === 'leaseEnd' && source.key !== '' ? [source.key] : []),
      ...compares.map(({ key }) => key),
      ...steps.flatMap((step) => ('to' in step && step.to !== undefined ? [] : [step.key])),
    ],
    ranges: steps.flatMap((step) =>
      'to' in step && step.to !== undefined ? [{ key: step.key, to: step.to }] : [],
    ),
  };
}

/** By code points, which is the order of the bytes in UTF-8. */
export function isBefore(left: string, right: string): boolean {
  return Buffer.compare(Buffer.from(left), Buffer.from(right)) < 0;
}

export function isWithin(key: string, range: { readonly key: string; readonly to: string }): boolean {
  return !isBefore(key, range.key) && isBefore(key, range.to);
}
