/** The checker of linearizability on histories that are known to be good or bad, and against a naive twin. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkLinearizability, describeVerdict } from '../../simulations/lib/checkers/linearizability.ts';
import {
  type HistoryCall,
  type HistoryOperation,
  historyLine,
  parseHistory,
} from '../../simulations/lib/quorum-history.ts';
import { type Rng, seededRng } from '../../src/kernel/rng.ts';
import { goodHistory } from './linearizability-twin.ts';

type Times = readonly [start: number, end?: number];
let client = 0;

function operation(call: HistoryCall, key: string, [start, end]: Times): HistoryOperation {
  return {
    client: client++,
    key,
    start,
    end: end ?? Number.POSITIVE_INFINITY,
    outcome: end === undefined ? 'unknown' : 'ok',
    ...call,
  };
}

/** Without an end its outcome is unknown. */
const put = (key: string, value: string, times: Times, at?: number) =>
  operation({ kind: 'put', input: { value }, ...(at === undefined ? {} : { output: { at } }) }, key, times);
const get = (key: string, value: string | null, times: Times, revision?: number, at?: number) =>
  operation(
    {
      kind: 'get',
      output: {
        found: value === null ? null : { key, value, ...(revision === undefined ? {} : { revision }) },
        ...(at === undefined ? {} : { at }),
      },
    },
    key,
    times,
  );
const remove = (key: string, deleted: number, times: Times) =>
  operation({ kind: 'delete', output: { deleted } }, key, times);
const swap = (key: string, expected: string | null, value: string, succeeded: boolean, times: Times) =>
  operation({ kind: 'compareAndSet', input: { expected, value }, output: { succeeded } }, key, times);
const swapRevision = (key: string, revision: number, value: string, succeeded: boolean, times: Times) =>
  operation({ kind: 'compareAndSet', input: { revision, value }, output: { succeeded } }, key, times);

function isGood(...history: readonly HistoryOperation[]): boolean {
  const verdict = checkLinearizability(history);
  expect(verdict.kind).not.toBe('undecided');
  return verdict.kind === 'linearizable';
}

describe('linearizability: what is good', () => {
  it('overlapping calls may take hold in either order', () => {
    expect(isGood(put('a', '1', [0, 10]), put('a', '2', [0, 10]), get('a', '1', [20, 30]))).toBe(true);
    expect(isGood(put('a', '1', [0, 10]), put('a', '2', [0, 10]), get('a', '2', [20, 30]))).toBe(true);
    expect(isGood(put('a', '1', [0, 10]), get('a', null, [5, 6]), get('a', '1', [7, 8]))).toBe(true);
  });

  it('a call of unknown outcome may show up later, or never (K30)', () => {
    const lost = put('a', '2', [10]);
    expect(isGood(put('a', '1', [0, 5]), lost, get('a', '1', [20, 30]), get('a', '2', [900, 901]))).toBe(
      true,
    );
    expect(isGood(put('a', '1', [0, 5]), lost, get('a', '1', [900, 901]))).toBe(true);
  });

  it('a revision that nobody was told is settled by the first who reads it', () => {
    const history = [put('a', '1', [0, 5], 3), put('a', '2', [10]), get('a', '2', [20, 30], 7)];
    expect(isGood(...history, swapRevision('a', 7, '3', true, [40, 50]))).toBe(true);
    expect(isGood(...history, swapRevision('a', 6, '3', true, [40, 50]))).toBe(false);
  });

  it('an ended lease takes its keys away at some moment after it was granted', () => {
    const held = operation({ kind: 'put', input: { value: 'x', lease: 9 }, output: {} }, 'a', [0, 5]);
    const gone = operation({ kind: 'leaseEnd', input: { lease: 9 } }, 'a', [0]);
    const other = operation({ kind: 'leaseEnd', input: { lease: 8 } }, 'a', [0]);
    expect(isGood(held, gone, get('a', 'x', [10, 20]), get('a', null, [30, 40]))).toBe(true);
    expect(isGood(held, other, get('a', null, [30, 40]))).toBe(false);
    expect(isGood(held, gone, get('a', null, [10, 20]), get('a', 'x', [30, 40]))).toBe(false);
  });

  it('failed calls drop out', () => {
    const refused: HistoryOperation = { ...put('a', '2', [10]), outcome: 'failed' };
    expect(isGood(put('a', '1', [0, 5]), refused, get('a', '1', [20, 30]))).toBe(true);
  });
});

describe('linearizability: what is bad', () => {
  const first = put('a', '1', [0, 5]);

  it('a stale read after a write was acknowledged', () => {
    expect(isGood(first, put('a', '2', [10, 20]), get('a', '1', [30, 40]))).toBe(false);
    expect(isGood(first, get('a', null, [30, 40]))).toBe(false);
  });

  it('a lost update: two read-modify-writes from the same value', () => {
    expect(isGood(first, swap('a', '1', '2', true, [10, 20]), swap('a', '1', '3', true, [30, 40]))).toBe(
      false,
    );
  });

  it('a dirty read of a write that failed for certain', () => {
    const refused: HistoryOperation = { ...put('a', '2', [10]), outcome: 'failed' };
    expect(isGood(first, refused, get('a', '2', [20, 30]))).toBe(false);
  });

  it('an unknown write that shows up, vanishes and shows up again', () => {
    const lost = put('a', '2', [10]);
    const reads = [get('a', '2', [20, 30]), get('a', '1', [40, 50]), get('a', '2', [60, 70])];
    expect(isGood(first, lost, ...reads)).toBe(false);
    expect(isGood(first, lost, ...reads.slice(0, 2))).toBe(false);
    expect(isGood(first, lost, ...reads.slice(0, 1))).toBe(true);
  });

  it('two winners of one compare-and-set, by value and by revision', () => {
    const [one, two] = [
      [10, 50],
      [10, 50],
    ] as const;
    expect(isGood(first, swap('a', '1', '2', true, one), swap('a', '1', '3', true, two))).toBe(false);
    expect(isGood(first, swap('a', '1', '2', true, one), swap('a', '1', '3', false, two))).toBe(true);
    const known = put('a', '1', [0, 5], 4);
    expect(isGood(known, swapRevision('a', 4, '2', true, one), swapRevision('a', 4, '3', true, two))).toBe(
      false,
    );
    expect(isGood(known, swapRevision('a', 4, '2', true, one), swapRevision('a', 4, '3', false, two))).toBe(
      true,
    );
  });

  it('a revision that goes back, on one key and across keys, and one given twice', () => {
    expect(isGood(put('a', '1', [0, 5], 7), put('b', '1', [10, 20], 6))).toBe(false);
    expect(isGood(put('a', '1', [0, 5], 7), get('b', null, [10, 20], undefined, 6))).toBe(false);
    expect(isGood(put('a', '1', [0, 50], 7), put('b', '1', [10, 20], 7))).toBe(false);
    expect(isGood(put('a', '1', [0, 5], 7), get('b', null, [10, 20], undefined, 7))).toBe(true);
    expect(isGood(put('a', '1', [0, 5], 7), get('a', '1', [10, 20], 6))).toBe(false);
  });

  it('a deletion that did not happen, or happened twice', () => {
    expect(isGood(first, remove('a', 1, [10, 20]), get('a', '1', [30, 40]))).toBe(false);
    expect(isGood(first, remove('a', 1, [10, 20]), remove('a', 1, [30, 40]))).toBe(false);
    expect(isGood(first, remove('a', 1, [10, 20]), remove('a', 0, [10, 20]))).toBe(true);
  });

  it('a version that skips or stands still', () => {
    const read = (version: number) =>
      operation({ kind: 'get', output: { found: { key: 'a', value: '1', version } } }, 'a', [10, 20]);
    expect(isGood(first, read(1))).toBe(true);
    expect(isGood(first, read(2))).toBe(false);
  });

  it('a transaction seen in part, and a range of two moments', () => {
    const both = operation(
      {
        kind: 'transaction',
        input: {
          compares: [],
          success: [
            { op: 'put', key: 'a', value: '1' },
            { op: 'put', key: 'b', value: '1' },
          ],
          failure: [],
        },
        output: { succeeded: true },
      },
      '',
      [0, 50],
    );
    expect(isGood(both, get('a', '1', [10, 20]), get('b', '1', [30, 40]))).toBe(true);
    expect(isGood(both, get('a', '1', [10, 20]), get('b', null, [30, 40]))).toBe(false);
    const range = (...keys: string[]) =>
      operation(
        { kind: 'range', input: { to: 'c' }, output: { found: keys.map((key) => ({ key, value: '1' })) } },
        'a',
        [10, 20],
      );
    expect(isGood(both, range('a', 'b'))).toBe(true);
    expect(isGood(both, range())).toBe(true);
    expect(isGood(both, range('a'))).toBe(false);
  });

  it('a transaction whose branch does not fit the state', () => {
    const transfer = (succeeded: boolean, times: Times) =>
      operation(
        {
          kind: 'transaction',
          input: {
            compares: [{ target: 'version', key: 'a', is: '=', than: 1 }],
            success: [{ op: 'put', key: 'b', value: 'moved' }],
            failure: [{ op: 'get', key: 'b' }],
          },
          output: { succeeded, ...(succeeded ? {} : { answers: [{ op: 'get' as const, found: null }] }) },
        },
        '',
        times,
      );
    expect(isGood(first, transfer(true, [10, 20]), get('b', 'moved', [30, 40]))).toBe(true);
    expect(isGood(first, transfer(false, [10, 20]))).toBe(false);
    expect(isGood(transfer(false, [10, 20]))).toBe(true);
  });
});

describe('linearizability: random histories', () => {
  it('what a sequential store did stays good, whatever the intervals, losses and keys', () => {
    fc.assert(
      fc.property(
        fc.nat(),
        fc.integer({ min: 1, max: 120 }),
        fc.integer({ min: 1, max: 16 }),
        (seed, size, clients) => {
          const verdict = checkLinearizability(
            goodHistory(seededRng(seed), { operations: size, clients, keys: 3 }),
          );
          expect(verdict.kind, describeVerdict(verdict)).toBe('linearizable');
        },
      ),
      { numRuns: 300, seed: 1 },
    );
  });

  it('one answer made up, stale or doubled is caught', () => {
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        const rng = seededRng(seed);
        const history = goodHistory(rng, { operations: 60, clients: 8, keys: 2 });
        const spoilt = spoil(rng, history);
        if (spoilt === undefined) return;
        const verdict = checkLinearizability(spoilt.history);
        expect(verdict.kind, spoilt.how).toBe('violated');
        if (verdict.kind === 'violated') expect(verdict.window.length).toBeGreaterThan(0);
      }),
      { numRuns: 100, seed: 2 },
    );
  });

  it('agrees with a naive search over all orders (up to 6 calls, answers at random)', () => {
    let good = 0;
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        const history = randomHistory(seededRng(seed));
        const expected = isNaivelyGood(history);
        good += expected ? 1 : 0;
        expect(isGood(...history)).toBe(expected);
      }),
      { numRuns: 3_000, seed: 3 },
    );
    expect(good).toBeGreaterThan(300);
    expect(good).toBeLessThan(2_700);
  });

  it('10,000 calls of 16 clients, some of unknown outcome, are decided in seconds', () => {
    for (const plan of [
      { keys: 20, unknown: 0.02, told: true },
      { keys: 8, unknown: 0.01, told: false },
      { keys: 1, unknown: 0.002, told: true },
    ]) {
      const history = goodHistory(seededRng(5), { operations: 10_000, clients: 16, ...plan });
      const verdict = checkLinearizability(history);
      expect(verdict.kind, describeVerdict(verdict)).toBe('linearizable');
    }
  });

  it('a violation in 10,000 calls is shown by a few of them', () => {
    const history = [
      ...goodHistory(seededRng(6), { operations: 10_000, clients: 16, keys: 10, unknown: 0.01 }),
    ];
    // A read that shows the value of an earlier write, overwritten since.
    const at = history.findIndex(
      ({ kind, outcome }, index) => index > 5_000 && kind === 'get' && outcome === 'ok',
    );
    const read = history[at] as HistoryOperation;
    const old = history.find(
      ({ kind, key, outcome }) => kind === 'put' && key === read.key && outcome === 'ok',
    );
    const value = old?.kind === 'put' ? old.input.value : '';
    history[at] = { ...read, output: { found: { key: read.key, value } } } as HistoryOperation;
    const verdict = checkLinearizability(history);
    expect(verdict.kind).toBe('violated');
    if (verdict.kind === 'violated') expect(verdict.window.length).toBeLessThan(30);
  });
});

/** Bends one answer in a way that no order can explain. */
function spoil(rng: Rng, history: readonly HistoryOperation[]) {
  const how = rng.pick(['made up', 'stale', 'two winners'] as const);
  const answered = history.filter(({ outcome }) => outcome === 'ok');
  const replace = (old: HistoryOperation, output: object) =>
    history.map((each) => (each === old ? ({ ...each, output } as HistoryOperation) : each));
  if (how === 'made up') {
    const reads = answered.filter(({ kind }) => kind === 'get');
    if (reads.length === 0) return undefined;
    const read = rng.pick(reads);
    return { how, history: replace(read, { found: { key: read.key, value: 'nobody wrote this' } }) };
  }
  if (how === 'stale') {
    const reads = answered.filter(
      (read) =>
        read.kind === 'get' &&
        answered.some((write) => write.kind === 'put' && write.key === read.key && write.end < read.start),
    );
    if (reads.length === 0) return undefined;
    const read = rng.pick(reads);
    return { how, history: replace(read, { found: null, at: 0 }) };
  }
  const winners = answered.filter((each) => each.kind === 'compareAndSet' && each.output?.succeeded === true);
  if (winners.length === 0) return undefined;
  const winner = rng.pick(winners);
  const twin = {
    ...winner,
    output: { succeeded: true },
  } as HistoryOperation;
  return { how, history: [...history, twin] };
}

function randomHistory(rng: Rng): readonly HistoryOperation[] {
  const values = [null, 'x', 'y'];
  return Array.from({ length: 2 + rng.below(5) }, (): HistoryOperation => {
    const start = rng.below(12);
    const times: Times = rng.chance(0.2) ? [start] : [start, start + rng.below(8)];
    const value = rng.pick(['x', 'y']);
    const die = rng.below(4);
    const asked =
      die === 0
        ? put('a', value, times)
        : die === 1
          ? get('a', rng.pick(values), times)
          : die === 2
            ? remove('a', rng.below(2), times)
            : swap('a', rng.pick(values), value, rng.chance(0.5), times);
    if (times.length === 2) return asked;
    const { output: _output, ...lost } = asked;
    return lost as HistoryOperation;
  });
}

/** All orders of all subsets, with a register that is a variable. */
function isNaivelyGood(history: readonly HistoryOperation[]): boolean {
  const run = (value: string | null, left: readonly HistoryOperation[]): boolean => {
    if (left.every(({ outcome }) => outcome === 'unknown')) return true;
    return left.some((each, at) => {
      if (left.some((other) => other.end < each.start)) return false;
      const after = naively(value, each);
      return after !== undefined && run(after.value, left.toSpliced(at, 1));
    });
  };
  return run(null, history);
}

function naively(value: string | null, call: HistoryOperation): { value: string | null } | undefined {
  switch (call.kind) {
    case 'put':
      return { value: call.input.value };
    case 'get':
      return call.output === undefined || (call.output.found?.value ?? null) === value
        ? { value }
        : undefined;
    case 'delete':
      return call.output === undefined || call.output.deleted === (value === null ? 0 : 1)
        ? { value: null }
        : undefined;
    case 'compareAndSet': {
      const equal = 'expected' in call.input && call.input.expected === value;
      if (call.output !== undefined && call.output.succeeded !== equal) return undefined;
      return { value: equal ? call.input.value : value };
    }
    default:
      return undefined;
  }
}

describe('history files', () => {
  const history = goodHistory(seededRng(9), { operations: 200, clients: 5, keys: 4 });
  const text = history.map((each) => `${historyLine(each)}\n`).join('');

  it('come back as they were written, times counted from the first', () => {
    const read = parseHistory(text);
    const first = Math.min(...history.map(({ start }) => start));
    expect(read.map((each) => ({ ...each, start: each.start + first, end: each.end + first }))).toEqual(
      history.map((each) =>
        JSON.parse(JSON.stringify(each), (key, value) =>
          key === 'end' && value === null ? Infinity : value,
        ),
      ),
    );
  });

  it('may count nanoseconds beyond 2^53', () => {
    const line = (start: bigint) =>
      `{"client":1,"kind":"put","key":"a","input":{"value":"x"},"start":"${start}","end":"${start + 7n}"}`;
    const epoch = 1_795_000_000_123_456_789n;
    expect(
      parseHistory([line(epoch), line(epoch + 1n)].join('\n')).map(({ start, end }) => [start, end]),
    ).toEqual([
      [0, 7],
      [1, 8],
    ]);
  });

  for (const [what, line] of [
    ['no JSON', '{'],
    ['a kind that there is not', '{"client":1,"kind":"increment","start":"0","end":"1"}'],
    ['no start', '{"client":1,"kind":"get","key":"a","output":{"found":null},"end":"1"}'],
    [
      'an end before its start',
      '{"client":1,"kind":"get","key":"a","output":{"found":null},"start":"2","end":"1"}',
    ],
    ['a fraction of a nanosecond', '{"client":1,"kind":"get","key":"a","start":0.5,"end":1}'],
    ['a put of nothing', '{"client":1,"kind":"put","key":"a","start":"0","end":"1"}'],
  ] as const) {
    it(`are refused with the line's number where a line has ${what}`, () => {
      expect(() => parseHistory(`\n${line}`)).toThrow(/^line 2: /);
    });
  }

  it('are checked from the command line: the exit code is the verdict', () => {
    const folder = mkdtempSync(join(tmpdir(), 'skein-history-'));
    try {
      const check = (lines: string): string => {
        writeFileSync(join(folder, 'history.jsonl'), lines);
        const program = join(import.meta.dirname, '../../simulations/lib/checkers/check-history.ts');
        return execFileSync(process.execPath, [program, join(folder, 'history.jsonl')], {
          encoding: 'utf8',
          stdio: 'pipe',
        });
      };
      expect(check(text)).toContain('linearizable: ');
      const stale = [put('a', '1', [0, 5]), put('a', '2', [10, 20]), get('a', '1', [30, 40])]
        .map(historyLine)
        .join('\n');
      expect(() => check(stale)).toThrow(
        expect.objectContaining({ status: 1, stdout: expect.stringContaining('NOT linearizable on a') }),
      );
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
