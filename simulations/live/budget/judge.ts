/** What may be said of what agents and the provider wrote down; knows nothing of the product. */
import type { Operation, Reserved, Served } from './operations.ts';

/** A write-off goes by the last news of an account; so old they may be. */
const NEWS_MS = 8_000;
/** How long before and after a fault a refusal is nothing to wonder at. */
const CALM_BEFORE_MS = 500;
const CALM_AFTER_MS = 4_000;
const SAMPLE_AGE_MS = 1_000;

export interface Peak {
  readonly budget: string;
  /** Of what was granted, and not known to be freed, at the moment when it came closest to the limit in force. */
  readonly granted: number;
  readonly limit: number;
}

export interface Judged {
  readonly violations: readonly string[];
  readonly peaks: readonly Peak[];
  readonly falseDenials: number;
}

/** `parents`: of budgets that have one. `allowance`: what was written off may have been spent before by as much. */
export function judgeBudgets(
  operations: readonly Operation[],
  parents: ReadonlyMap<string, string>,
  allowance: ReadonlyMap<string, number>,
): Judged {
  const violations = [...overserved(operations), ...reservedTwice(operations), ...overruns(operations)];
  const peaks: Peak[] = [];
  for (const budget of budgetsOf(operations)) {
    const { peak, broken } = grantedOver(operations, budget, parents, allowance.get(budget) ?? 0);
    peaks.push(peak);
    violations.push(...broken);
  }
  return { violations, peaks, falseDenials: falseDenials(operations).length };
}

/** B-number 2 of the invariants: at every served token no more was served than the limit in force. */
function overserved(operations: readonly Operation[]): readonly string[] {
  const over = operations.filter(
    (operation): operation is Served => operation.kind === 'serve' && operation.total > operation.limit,
  );
  const [first] = over;
  if (first === undefined) return [];
  const most = Math.max(...over.map(({ total, limit }) => total - limit));
  return [
    `I2: the provider served ${most} more than the limit of ${first.budget}, the first time for ${first.reservationId} (${first.total} of ${first.limit} at ${first.at.toFixed(0)} ms)`,
  ];
}

function budgetsOf(operations: readonly Operation[]): readonly string[] {
  return [...new Set(operations.flatMap((each) => (each.kind === 'serve' ? [each.budget] : [])))];
}

interface Step {
  readonly at: number;
  readonly granted: number;
  readonly limit?: number;
}

/** Counts what was granted when it was answered, and takes off what was freed when that was asked for. */
function grantedOver(
  operations: readonly Operation[],
  budget: string,
  parents: ReadonlyMap<string, string>,
  allowance: number,
): { readonly peak: Peak; readonly broken: readonly string[] } {
  const steps = stepsOf(operations, budget, parents).sort((left, right) => left.at - right.at);
  const writtenOffAt = Math.min(...operations.flatMap((each) => (each.kind === 'writeOff' ? [each.at] : [])));
  let granted = 0;
  let limit = 0;
  let peak: Peak = { budget, granted: 0, limit: 1 };
  let excess = 0;
  for (const step of steps) {
    granted += step.granted;
    limit = Math.max(limit, step.limit ?? 0);
    if (granted - limit > peak.granted - peak.limit || peak.granted === 0) peak = { budget, granted, limit };
    excess = Math.max(excess, granted - limit - (step.at < writtenOffAt ? 0 : allowance));
  }
  return {
    peak,
    broken:
      excess <= 0 ? [] : [`${excess} more of ${budget} were granted than its limit: ${JSON.stringify(peak)}`],
  };
}

function stepsOf(
  operations: readonly Operation[],
  budget: string,
  parents: ReadonlyMap<string, string>,
): Step[] {
  const steps: Step[] = [];
  const reserved = new Map<string, Reserved>();
  const freed = new Set<string>();
  const byEnd = [...operations].sort((left, right) => timeOf(left) - timeOf(right));
  for (const operation of byEnd) {
    if (operation.kind === 'limit' && operation.budget === budget)
      steps.push({ at: operation.at, granted: 0, limit: operation.limit });
    if (operation.kind === 'reserve' && operation.reservationId !== undefined) {
      if (!isWithin(operation.budget, budget, parents) || reserved.has(operation.reservationId)) continue;
      reserved.set(operation.reservationId, operation);
      steps.push({ at: operation.end, granted: operation.tokens });
    }
    if (operation.kind !== 'settle' || operation.outcome === 'refused') continue;
    const of = reserved.get(operation.reservationId);
    if (of === undefined || freed.has(operation.reservationId)) continue;
    freed.add(operation.reservationId);
    steps.push({ at: operation.start, granted: -Math.max(0, of.tokens - operation.tokens) });
  }
  return steps;
}

function isWithin(name: string, budget: string, parents: ReadonlyMap<string, string>): boolean {
  for (let each: string | undefined = name; each !== undefined; each = parents.get(each))
    if (each === budget) return true;
  return false;
}

function timeOf(operation: Operation): number {
  return 'at' in operation ? operation.at : operation.kind === 'settle' ? operation.start : operation.end;
}

/** One reservation for each id on each machine, as long as the machine forgot nothing. */
function reservedTwice(operations: readonly Operation[]): readonly string[] {
  const forgetful = new Set(operations.flatMap((each) => (each.kind === 'forgot' ? [each.machine] : [])));
  const known = new Map<string, string>();
  const broken: string[] = [];
  for (const operation of operations) {
    if (operation.kind !== 'reserve' || operation.id === undefined) continue;
    const { machine, id, reservationId } = operation;
    if (reservationId === undefined || forgetful.has(machine)) continue;
    const other = known.get(`${machine} ${id}`) ?? reservationId;
    if (other !== reservationId)
      broken.push(`${id} stands for ${other} and ${reservationId} on ${machine} (B21)`);
    known.set(`${machine} ${id}`, reservationId);
  }
  return broken;
}

/** No agent settles more than it reserved, so none can be in debt. */
function overruns(operations: readonly Operation[]): readonly string[] {
  return operations.flatMap((each) =>
    each.kind === 'settle' && (each.overrun ?? 0) > 0
      ? [
          `${each.reservationId} was overrun by ${each.overrun}, though it was settled within what was reserved`,
        ]
      : [],
  );
}

/** Refused, while some machine said before and after that it could be had, and nothing was broken. As well as it can be told. */
export function falseDenials(operations: readonly Operation[]): readonly Reserved[] {
  const faults = operations.flatMap((each) => (each.kind === 'fault' ? [each] : []));
  const samples = operations.flatMap((each) => (each.kind === 'sample' ? [each] : []));
  return operations.filter((operation): operation is Reserved => {
    if (operation.kind !== 'reserve' || operation.code !== 'BUDGET_EXHAUSTED') return false;
    const { start, end, tokens, budget } = operation;
    const isCalm = faults.every(
      (fault) => end < fault.start - CALM_BEFORE_MS || start > fault.end + CALM_AFTER_MS,
    );
    if (!isCalm) return false;
    const near = samples.filter(
      (sample) =>
        sample.budget === budget && sample.at > start - SAMPLE_AGE_MS && sample.at < end + SAMPLE_AGE_MS,
    );
    const isSurrounded = near.some(({ at }) => at < start) && near.some(({ at }) => at > end);
    return isSurrounded && near.every(({ remaining }) => remaining >= 2 * tokens);
  });
}

/** What machines that lost their memory may have granted without anybody hearing of it, by budget. */
export function unheardOf(operations: readonly Operation[]): ReadonlyMap<string, number> {
  const forgotten = operations.flatMap((each) => (each.kind === 'forgot' ? [each] : []));
  const sums = new Map<string, number>();
  for (const each of operations) {
    if (each.kind !== 'reserve' || each.outcome !== 'ok') continue;
    const isUnheard = forgotten.some(
      ({ machine, at }) => machine === each.machine && each.end <= at && each.end > at - NEWS_MS,
    );
    if (isUnheard) sums.set(each.budget, (sums.get(each.budget) ?? 0) + each.tokens);
  }
  return sums;
}
