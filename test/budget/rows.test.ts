import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type AccountId, accountOf } from '../../src/budget/names.ts';
import { EMPTY_ROW, parseRow, type Row, rowBody, standingOf } from '../../src/budget/row.ts';
import { Rows } from '../../src/budget/rows.ts';
import { amountOf, definitionOf, nodeIdOf, purseOf } from './support.ts';

const PURSE = purseOf(definitionOf());
const [SELF, WRITER, THIRD] = [0, 1, 2].map((index) => accountOf(nodeIdOf(index), 7)) as [
  AccountId,
  AccountId,
  AccountId,
];

/** What one account says as it goes on: every row follows from the one before. */
const histories = fc
  .array(fc.record({ granted: fc.nat(50), sent: fc.nat(20), spent: fc.nat(20), held: fc.nat(10) }), {
    minLength: 1,
    maxLength: 8,
  })
  .map((steps) => {
    const rows: Row[] = [];
    let [granted, sent, spent] = [100, 0, 0];
    for (const [index, step] of steps.entries()) {
      granted += step.granted;
      sent += Math.min(step.sent, granted - sent - spent);
      spent += Math.min(step.spent, granted - sent - spent);
      const held = Math.min(step.held, granted - sent - spent);
      const body = {
        ...{ sequence: index + 1, granted, received: [], sent: sent === 0 ? [] : [[SELF, sent]] },
        ...{ returned: 0, spent, held, overrun: 0, covered: 0 },
      };
      rows.push(parseRow(body, WRITER)!);
    }
    return rows;
  });

function heardIn(rows: readonly Row[], order: readonly number[]): Rows {
  const heard = new Rows(() => false);
  heard.registered(PURSE, WRITER, amountOf(10_000));
  for (const index of order) {
    const row = rows[index % rows.length]!;
    const hearing = heard.hear(PURSE, WRITER, { row, version: row.sequence });
    expect(['newer', 'known']).toContain(hearing);
  }
  return heard;
}

describe('rows', () => {
  it('heard in any order, any number of times and in any groups, rows come to the same (I5)', () => {
    fc.assert(
      fc.property(histories, fc.array(fc.nat(), { maxLength: 20 }), (rows, extra) => {
        const all = rows.map((_, index) => index);
        const own = { ...rows[0]!, sent: new Map(), received: new Map() };
        const straight = heardIn(rows, all);
        for (const order of [[...extra, ...all], [...all].reverse(), [...all, ...extra, ...all]]) {
          const heard = heardIn(rows, order);
          expect(heard.row(PURSE, WRITER)).toEqual(straight.row(PURSE, WRITER));
          expect(heard.creditsFor(PURSE, SELF, own)).toEqual(straight.creditsFor(PURSE, SELF, own));
          expect(heard.proofs).toEqual([]);
        }
        expect(straight.row(PURSE, WRITER)).toEqual(rows.at(-1));
      }),
      { numRuns: 200 },
    );
  });

  it.each(['granted', 'returned', 'spent', 'overrun', 'covered', 'sent', 'received'] as const)(
    'a total that falls, of what was %s, contradicts the row before it (I5)',
    (name) => {
      const totals = { granted: 90, returned: 5, spent: 5, held: 5, overrun: 5, covered: 5 };
      const body = { sequence: 3, ...totals, received: [[THIRD, 5]], sent: [[SELF, 5]] };
      const before = parseRow(body, WRITER)!;
      const fallen = name === 'sent' || name === 'received' ? [] : totals[name] - 1;
      const after = parseRow({ ...body, sequence: 4, [name]: fallen }, WRITER);
      // Covered is never beyond what was overrun: such a row makes no sense by itself.
      if (name === 'overrun') expect(after).toBeUndefined();
      else expect(standingOf(after!, before)).toBe('contradicts');
      expect(standingOf({ ...before, sequence: 4, held: amountOf(0) }, before)).toBe('newer');
    },
  );

  it('a row is its writer’s alone: its body says nothing of whose it is', () => {
    const row = parseRow(
      {
        sequence: 1,
        granted: 5,
        received: [],
        sent: [],
        returned: 0,
        spent: 0,
        held: 0,
        overrun: 0,
        covered: 0,
      },
      WRITER,
    )!;
    expect(JSON.stringify(rowBody(row))).not.toContain(WRITER);
    expect(parseRow({ ...row, received: [], sent: [[WRITER, 1]] }, WRITER)).toBeUndefined();
  });
});

describe('rows: what is said to have come from an account that was written off', () => {
  const rowOf = (writer: AccountId, given: object): Row =>
    parseRow({ ...(rowBody(EMPTY_ROW) as object), sequence: 1, ...given }, writer)!;

  // The third was granted 100, of which nobody here heard that it sent anything.
  it.each([
    { received: 60, takenBack: undefined, isBelieved: false },
    { received: 60, takenBack: 40, isBelieved: true },
    { received: 61, takenBack: 40, isBelieved: false },
    { received: 100, takenBack: 0, isBelieved: true },
    { received: 101, takenBack: 0, isBelieved: false },
  ])(
    'of 100 with $takenBack taken back, $received: believed $isBelieved (I1, B16)',
    ({ received, takenBack, isBelieved }) => {
      const rows = new Rows(() => false);
      const end = takenBack === undefined ? undefined : { lastSequence: 1, takenBack: amountOf(takenBack) };
      rows.registered(PURSE, THIRD, amountOf(100), end);
      rows.registered(PURSE, WRITER, amountOf(0));
      const row = rowOf(WRITER, { received: [[THIRD, received]], sent: [[SELF, 10]] });
      rows.hear(PURSE, WRITER, { row, version: 1 });
      expect(rows.creditsFor(PURSE, SELF, EMPTY_ROW).get(WRITER)).toBe(isBelieved ? 10 : undefined);
      expect(rows.credible(PURSE, SELF, EMPTY_ROW).has(WRITER)).toBe(isBelieved);
    },
  );

  /** Of the third, which was granted 100 and written off on its row 2, when 80 were left. */
  const gone = { granted: 100, spent: 20 };
  const end = { lastSequence: 2, takenBack: amountOf(80) };
  const steps = {
    row: (rows: Rows) => rows.hear(PURSE, THIRD, { row: rowOf(THIRD, { ...gone, sequence: 2 }), version: 2 }),
    lateRow: (rows: Rows) => {
      const sent = [
        [SELF, 7],
        [WRITER, 60],
      ];
      return rows.hear(PURSE, THIRD, { row: rowOf(THIRD, { ...gone, sequence: 5, sent }), version: 5 });
    },
    end: (rows: Rows) => rows.registered(PURSE, THIRD, amountOf(100), end),
    receiver: (rows: Rows) => {
      const row = rowOf(WRITER, { received: [[THIRD, 60]], sent: [[SELF, 10]] });
      return rows.hear(PURSE, WRITER, { row, version: 1 });
    },
  };

  it('what it sent after the row on which it was written off is not taken in: the reserve has it', () => {
    for (const order of [['lateRow', 'end'] as const, ['end', 'lateRow'] as const]) {
      const rows = new Rows(() => false);
      for (const step of order) steps[step](rows);
      expect(rows.row(PURSE, THIRD)?.sequence).toBe(5);
      expect(rows.creditsFor(PURSE, SELF, { ...EMPTY_ROW, sequence: 1 })).toEqual(new Map());
    }
  });

  it('who took in what it sent after that, before it heard of the end, is believed by all, whatever they heard first (I8, B13)', () => {
    const orders = fc.shuffledSubarray(['row', 'lateRow', 'end', 'receiver'] as const, { minLength: 4 });
    fc.assert(
      fc.property(orders, (order) => {
        const rows = new Rows(() => false);
        for (const step of order) steps[step](rows);
        const credits = rows.creditsFor(PURSE, SELF, EMPTY_ROW);
        expect([...credits]).toEqual([[WRITER, 10]]);
        expect(rows.proofs).toEqual([]);
      }),
      { examples: [[['row', 'end', 'lateRow', 'receiver']]] },
    );
  });

  it('what others claim to have sent it counts only where they had it: who made that up could let others have it from there (B26, B27)', () => {
    const FOURTH = accountOf(nodeIdOf(3), 7);
    const believed = (fourth: Row | undefined, third: Row | undefined) => {
      const rows = new Rows(() => false);
      rows.registered(PURSE, THIRD, amountOf(100), { lastSequence: 2, takenBack: amountOf(100) });
      rows.registered(PURSE, FOURTH, amountOf(50));
      if (fourth !== undefined) rows.hear(PURSE, FOURTH, { row: fourth, version: 1 });
      if (third !== undefined) rows.hear(PURSE, THIRD, { row: third, version: 1 });
      const row = rowOf(WRITER, { received: [[THIRD, 50]], sent: [[SELF, 50]] });
      rows.hear(PURSE, WRITER, { row, version: 1 });
      return rows.creditsFor(PURSE, SELF, EMPTY_ROW).get(WRITER);
    };
    const sent = [[THIRD, 50]];
    expect(believed(rowOf(FOURTH, { granted: 50, sent }), undefined)).toBe(50);
    expect(believed(rowOf(FOURTH, { granted: 51, sent }), undefined)).toBeUndefined();
    expect(believed(rowOf(FOURTH, { received: [[WRITER, 50]], sent }), undefined)).toBeUndefined();
    expect(believed(undefined, rowOf(THIRD, { granted: 100, received: [[FOURTH, 50]] }))).toBeUndefined();
  });

  it('what several say to have of it counts together', () => {
    const rows = new Rows(() => false);
    rows.registered(PURSE, THIRD, amountOf(100), { lastSequence: 1, takenBack: amountOf(0) });
    const row = rowOf(WRITER, { received: [[THIRD, 60]], sent: [[SELF, 10]] });
    rows.hear(PURSE, WRITER, { row, version: 1 });
    const own = rowOf(SELF, { received: [[THIRD, 60]] });
    expect(rows.creditsFor(PURSE, SELF, own).size).toBe(0);
  });
});
