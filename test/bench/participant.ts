/** A child process with one participant of one candidate, driven by the coordinator. */
import { createHash } from 'node:crypto';
import { type Candidate, LAST_KEY, type Replica, type Setup } from './lib/candidate.ts';
import { nowUs, until } from './lib/clock.ts';
import { serve } from './lib/remote.ts';

const KEYS = 1000;

export interface PaceRequest {
  readonly ops: number;
  readonly perSecond: number;
  readonly valueBytes: number;
}
export interface BurstRequest {
  readonly ops: number;
  /** Entries per transaction; 1 means single calls. */
  readonly batch: number;
  /** Calls made and not yet answered, at most; an API that answers at once yields to its sockets this often. */
  readonly inFlight: number;
  readonly valueBytes: number;
  readonly label: string;
}

let replica: Replica | undefined;
let arrivals = new Float64Array(0);
let lastSeen = '';
let lastSeenUs = 0;

function opened(): Replica {
  if (replica === undefined) throw new Error('not open');
  return replica;
}

function paddedValue(index: number, bytes: number): string {
  return `${index}:`.padEnd(bytes, '.');
}

function keyOf(index: number): string {
  return `key-${(index * 617) % KEYS}`;
}

function onChange(key: string, value: string): void {
  if (key === LAST_KEY) {
    lastSeen = value;
    lastSeenUs = nowUs();
  } else if (arrivals.length > 0) {
    const index = Number.parseInt(value, 10);
    if (index < arrivals.length && arrivals[index] === 0) arrivals[index] = nowUs();
  }
}

/** Issues every operation at its own time, late ones at once; gives the times of the calls. */
async function pace({ ops, perSecond, valueBytes }: PaceRequest): Promise<Float64Array> {
  const board = opened();
  const sent = new Float64Array(ops);
  const startUs = nowUs();
  const pending: Promise<void>[] = [];
  for (let index = 0; index < ops; index++) {
    const waitMs = (startUs + (index * 1e6) / perSecond - nowUs()) / 1000;
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
    const value = paddedValue(index, valueBytes);
    sent[index] = nowUs();
    const answer = board.set(keyOf(index), value);
    if (answer !== undefined) pending.push(answer);
  }
  await Promise.all(pending);
  return sent;
}

/** As fast as the API takes them; gives the time of the first call. */
async function burst(request: BurstRequest): Promise<number> {
  const board = opened();
  const { ops, batch, inFlight, valueBytes, label } = request;
  const startUs = nowUs();
  const issue = (index: number): void | Promise<void> => {
    if (batch === 1) return board.set(keyOf(index), paddedValue(index, valueBytes));
    const entries = Array.from({ length: Math.min(batch, ops - index) }, (_, at) => {
      return [keyOf(index + at), paddedValue(index + at, valueBytes)] as const;
    });
    return board.setAll(entries);
  };
  await windowed(ops, batch, inFlight, issue);
  await board.set(LAST_KEY, label);
  return startUs;
}

async function windowed(
  ops: number,
  batch: number,
  inFlight: number,
  issue: (index: number) => void | Promise<void>,
): Promise<void> {
  let unanswered = 0;
  let sinceYield = 0;
  let failure: unknown;
  let wake: (() => void) | undefined;
  const settle = (size: number, error?: unknown) => {
    unanswered -= size;
    failure ??= error;
    wake?.();
  };
  const untilAtMost = async (calls: number) => {
    while (unanswered > calls && failure === undefined) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    if (failure !== undefined) throw failure;
  };
  for (let index = 0; index < ops; index += batch) {
    const size = Math.min(batch, ops - index);
    const answer = issue(index);
    if (answer === undefined) {
      sinceYield += size;
      if (sinceYield < inFlight) continue;
      sinceYield = 0;
      await new Promise((resolve) => setImmediate(resolve));
    } else {
      unanswered += size;
      answer.then(
        () => settle(size),
        (error: unknown) => settle(size, error),
      );
      await untilAtMost(inFlight - batch);
    }
  }
  await untilAtMost(0);
}

async function digest(): Promise<{ hash: string; keys: number }> {
  const entries = [...(await opened().entries())].toSorted(([left], [right]) => (left < right ? -1 : 1));
  const hash = createHash('sha256').update(JSON.stringify(entries)).digest('hex');
  return { hash, keys: entries.length };
}

serve({
  open: async ({ candidate, setup }: { candidate: string; setup: Setup }) => {
    const module = (await import(`./candidates/${candidate}.ts`)) as { candidate: Candidate };
    replica = await module.candidate.open(setup);
    replica.observe(onChange);
    return replica.address;
  },
  connect: ({ addresses, participants }: { addresses: string[]; participants: number }) =>
    opened().connect(addresses, participants),
  pace,
  burst,
  set: ({ key, value }: { key: string; value: string }) => opened().set(key, value),
  expect: ({ ops }: { ops: number }) => {
    arrivals = new Float64Array(ops);
  },
  arrivals: async ({ deadlineMs }: { deadlineMs: number }) => {
    await until('every operation visible', () => arrivals.every((at) => at > 0), deadlineMs).catch(() => {});
    const seen = arrivals;
    arrivals = new Float64Array(0);
    return seen;
  },
  sawLast: async ({ label, deadlineMs }: { label: string; deadlineMs: number }) => {
    await until(`the last entry of ${label} visible`, () => lastSeen === label, deadlineMs);
    return lastSeenUs;
  },
  digest,
  probe: ({ question, argument }: { question: string; argument: unknown }) =>
    opened().probe?.(question, argument),
  close: async () => {
    await replica?.close();
    replica = undefined;
  },
});
