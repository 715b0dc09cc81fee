/** A checker that never objects proves nothing: each must find the fault that it is there for. */
import { describe, expect, it } from 'vitest';
import { checkDurability } from '../../simulations/lib/checkers/durability.ts';
import { SessionChecker } from '../../simulations/lib/checkers/sessions.ts';
import type { Operation, OperationAnswer } from '../../simulations/lib/history.ts';
import { BOARD } from '../../simulations/lib/names.ts';
import type { BoardCall, Entry } from '../../src/blackboard/api.ts';

type Told = Partial<Omit<Operation, 'call' | 'answer'>> & { answer?: OperationAnswer };

let index = 0;
function operation(call: object, told: Told = {}): Operation {
  return {
    index: index++,
    client: 0,
    machine: 0,
    inSession: true,
    written: [],
    invokedMs: 0,
    returnedMs: 1,
    outcome: 'ok',
    error: undefined,
    ...told,
    answer: told.answer,
    call: { board: BOARD, ...call } as BoardCall,
  };
}

const value = (unique: string) => ({ unique });
const write = (key: string, text: string, revision: number, told: Told = {}) =>
  operation({ op: 'write', key, value: value(text) }, { written: [text], answer: { revision }, ...told });
const remove = (key: string, revision: number, told: Told = {}) =>
  operation({ op: 'delete', key }, { answer: { revision, deleted: true }, ...told });
const append = (key: string, texts: string[], told: Told = {}) =>
  operation(
    { op: 'append', key, items: texts.map(value) },
    { written: texts, answer: { revision: 1 }, ...told },
  );
const read = (key: string, text: string | undefined, revision: number, told: Told = {}) =>
  operation(
    { op: 'read', key },
    {
      answer: text === undefined ? { found: false, revision } : { found: true, value: value(text), revision },
      ...told,
    },
  );

function objections(history: readonly Operation[]): string[] {
  const found: string[] = [];
  const checker = new SessionChecker((what) => found.push(what));
  for (const each of history) checker.observe(each);
  return found;
}

describe('session checker', () => {
  it('has no objection to a session that sees what it should', () => {
    const history = [
      write('a', 'one', 5),
      read('a', 'one', 5),
      write('b', 'two', 6),
      read('b', 'two', 6, { client: 1 }),
      read('a', 'one', 5, { client: 1 }),
      remove('a', 9),
      read('a', undefined, 9),
    ];
    expect(objections(history)).toEqual([]);
  });

  it('finds a write that its own session does not read (K10)', () => {
    expect(objections([write('a', 'one', 5), read('a', undefined, 0)]).length).toBe(1);
  });

  it('finds a read that goes back (K11)', () => {
    expect(objections([read('a', 'new', 7), read('a', 'old', 6)]).length).toBe(1);
  });

  it('finds the second write of a session seen without the first (K12)', () => {
    const history = [
      write('a', 'first', 5),
      write('b', 'second', 6),
      read('b', 'second', 6, { client: 1 }),
      read('a', undefined, 0, { client: 1 }),
    ];
    expect(objections(history).length).toBe(1);
  });

  it('finds a write seen without what its writer had read before (K13)', () => {
    const history = [
      write('a', 'cause', 5),
      read('a', 'cause', 5, { client: 1 }),
      write('b', 'effect', 8, { client: 1 }),
      read('b', 'effect', 8, { client: 2 }),
      read('a', undefined, 0, { client: 2 }),
    ];
    expect(objections(history).length).toBe(1);
  });

  it('asks nothing of clients without a session, nor of calls that failed', () => {
    const history = [
      write('a', 'one', 5, { inSession: false }),
      read('a', undefined, 0, { inSession: false }),
      write('b', 'two', 0, { outcome: 'fail' }),
      read('b', undefined, 0),
    ];
    expect(objections(history)).toEqual([]);
  });
});

function entry(key: string, shown: Entry['value'], revision: number): Entry {
  return { key, value: shown, revision, author: 'a', node: 'n', writtenAt: '' };
}

function wrongs(
  history: readonly Operation[],
  entries: readonly Entry[],
  excused: readonly Operation[] = [],
) {
  const final = new Map(entries.map((each) => [each.key, each]));
  return checkDurability(history, final, new Set(excused.map((each) => each.index)));
}

describe('durability checker', () => {
  const first = write('a', 'one', 5);
  const second = write('a', 'two', 6);

  it('has no objection where the newest acknowledged write stands', () => {
    expect(wrongs([first, second], [entry('a', value('two'), 6)])).toEqual([]);
    expect(wrongs([first, remove('a', 7)], [])).toEqual([]);
    expect(
      wrongs([first, write('a', 'late', 0, { outcome: 'info', answer: {} })], [entry('a', value('late'), 9)]),
    ).toEqual([]);
  });

  it('finds a lost write, an older one in its place, and excuses what went with a disk', () => {
    expect(wrongs([first], []).length).toBe(1);
    expect(wrongs([first, second], [entry('a', value('one'), 5)]).length).toBe(1);
    expect(wrongs([first, second], [entry('a', value('one'), 5)], [second])).toEqual([]);
    expect(wrongs([first], [], [first])).toEqual([]);
  });

  it('finds what was deleted and came back', () => {
    expect(wrongs([first, remove('a', 7)], [entry('a', value('one'), 5)]).length).toBe(1);
  });

  it('finds what nobody wrote, or was refused, or has another revision', () => {
    expect(wrongs([first], [entry('a', value('one'), 5), entry('b', value('x'), 1)]).length).toBe(1);
    expect(wrongs([first], [entry('a', value('x'), 9)]).length).toBe(1);
    expect(wrongs([write('a', 'no', 0, { outcome: 'fail' })], [entry('a', value('no'), 9)]).length).toBe(1);
    expect(wrongs([first], [entry('a', value('one'), 8)]).length).toBe(1);
  });

  it('finds items of a log that are lost, doubled, foreign or out of order', () => {
    const log = [append('l', ['1', '2']), append('l', ['3']), append('l', ['4'], { outcome: 'info' })];
    const holding = (...texts: string[]) => wrongs(log, [entry('l', texts.map(value), 1)]).length;
    expect(holding('1', '2', '3')).toBe(0);
    expect(holding('3', '1', '4', '2')).toBe(0);
    expect(holding('1', '3')).toBe(1);
    expect(holding('2', '1', '3')).toBe(1);
    expect(holding('1', '2', '3', '3')).toBe(1);
    expect(holding('1', '2', '3', 'x')).toBe(1);
    expect(wrongs(log, []).length).toBe(2);
  });
});
