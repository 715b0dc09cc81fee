import { describe, expect, it } from 'vitest';
import { balanceOf } from '../../src/budget/conservation.ts';
import type { AccountId } from '../../src/budget/names.ts';
import {
  accountKey,
  definitionKey,
  entryKey,
  type Plan,
  parseBudgetKey,
  planCreation,
  planEndAgain,
  planFencing,
  planGrant,
  planLimit,
  planOpening,
  planRecovery,
  planReturn,
  planWriteOff,
  reserveKey,
  type View,
  viewOf,
  viewOperations,
} from '../../src/budget/reserve-register.ts';
import { parseRow, type Row } from '../../src/budget/row.ts';
import { encode } from '../../src/kernel/codec.ts';
import type { Result } from '../../src/kernel/errors.ts';
import { amountOf, definitionOf, hostWith, nodeIdOf, problemsOf, purseOf, rowsOf, Store } from './support.ts';

const BUDGET = definitionOf({ limit: 100 });
const PURSE = purseOf(BUDGET);
const A = `${nodeIdOf(1)}/a` as AccountId;
const B = `${nodeIdOf(2)}/b` as AccountId;
const some = amountOf;
const code = (result: Result<unknown>) => (result.ok ? 'ok' : result.error.code);
const planOf = <T>(result: Result<Plan<T>>): Plan<T> => {
  if (!result.ok) throw new Error(result.error.message);
  return result.value;
};
const setup = () => {
  const store = new Store([BUDGET]);
  for (const [account, nonce] of [
    [A, 11],
    [B, 12],
  ] as const)
    store.carry(planOpening(store.view(PURSE, account).view, nonce, [nonce]));
  return store;
};
const rowOf = (fields: Record<string, unknown>, account = A): Row => {
  const body = {
    sequence: 1,
    granted: 0,
    received: [],
    sent: [],
    returned: 0,
    spent: 0,
    held: 0,
    overrun: 0,
    covered: 0,
  };
  return parseRow({ ...body, ...fields }, account)!;
};
const balanced = (store: Store, accounts: readonly AccountId[] = [A, B]) => {
  // As if every account had heard what it was granted, and had returned what the register says.
  const positions = accounts.map((account) => {
    const entry = store.entry(PURSE, account);
    return {
      account,
      entry,
      row: rowOf({ granted: entry?.granted ?? 0, returned: entry?.returned ?? 0 }, account),
    };
  });
  expect(balanceOf(store.reserve(BUDGET), positions).problems).toEqual([]);
};

describe('reserve register: grants', () => {
  it('a grant asked for again, by whomever and however often, is the same grant (B17, B21)', () => {
    const store = setup();
    const wish = { amount: some(30), atLeast: some(1), above: some(0) };
    expect(store.grant(PURSE, A, wish)).toMatchObject({ value: { total: 30, granted: 30 } });
    expect(store.grant(PURSE, A, wish)).toMatchObject({ value: { total: 30, granted: 30 } });
    expect(store.grant(PURSE, A, { ...wish, amount: some(7) })).toMatchObject({ value: { total: 30 } });
    expect(store.reserve(BUDGET)).toMatchObject({ limit: 100, reserve: 70, owed: 0 });
    balanced(store);
  });

  it.each(['before', 'after'])(
    'a granter that dies %s its transaction leaves nothing half done (B17)',
    (when) => {
      const store = setup();
      const wish = { amount: some(30), atLeast: some(1), above: some(0) };
      const plan = planOf(planGrant(store.view(PURSE, A).view, wish));
      if (when === 'after') store.carry(plan);
      expect(store.grant(PURSE, A, wish)).toMatchObject({ value: { total: 30 } });
      expect(store.carry(plan)).toBe(false);
      expect(store.reserve(BUDGET).reserve).toBe(70);
      balanced(store);
    },
  );

  it('of two that read the same reserve one grants, and the other plans anew with what is left (B16, I6)', () => {
    const store = setup();
    const [forA, forB] = [A, B].map((account) =>
      planOf(
        planGrant(store.view(PURSE, account).view, { amount: some(80), atLeast: some(1), above: some(0) }),
      ),
    );
    expect(store.carry(forA!)).toBe(true);
    const transaction = (forB as Extract<Plan<unknown>, { kind: 'transact' }>).transaction;
    const answer = store.transact(transaction);
    expect(answer.succeeded).toBe(false);
    const again = viewOf(viewOperations(BUDGET.name, PURSE, B), answer);
    const wish = { amount: some(80), atLeast: some(1), above: some(0) };
    const plan = planOf(planGrant((again as { value: View }).value, wish));
    expect(plan.value).toEqual({ total: 20, granted: 20 });
    expect(store.carry(plan)).toBe(true);
    balanced(store);
  });

  it('an orchestrator that is not one any more grants nothing (B16, I6)', () => {
    const store = setup();
    const key = 'l/orchestrator';
    const lead = (value: string) =>
      store.transact({ compares: [], then: [{ op: 'put', key, value: encode(value) }], otherwise: [] })
        .revision;
    const wish = { amount: some(10), atLeast: some(1), above: some(0) };
    const first = lead('first');
    const old = planOf(
      planGrant(store.view(PURSE, A).view, { ...wish, fence: { key, createRevision: first } }),
    );
    store.transact({ compares: [], then: [{ op: 'delete', key }], otherwise: [] });
    expect(store.carry(old)).toBe(false);
    const second = lead('second');
    expect(store.carry(old)).toBe(false);
    const now = planOf(
      planGrant(store.view(PURSE, A).view, { ...wish, fence: { key, createRevision: second } }),
    );
    expect(store.carry(now)).toBe(true);
    expect(store.reserve(BUDGET).reserve).toBe(90);
  });

  it('the last units are granted in part, and then none, with what is left in the refusal', () => {
    const store = setup();
    store.grant(PURSE, A, { amount: some(90), atLeast: some(1), above: some(0) });
    const more = { amount: some(30), above: some(0) };
    const refused = store.grant(PURSE, B, { ...more, atLeast: some(20) });
    expect(refused).toMatchObject({ error: { code: 'BUDGET_EXHAUSTED', details: { reserve: 10 } } });
    expect(store.grant(PURSE, B, { ...more, atLeast: some(5) })).toMatchObject({ value: { granted: 10 } });
    expect(code(store.grant(PURSE, A, { amount: some(1), atLeast: some(1), above: some(90) }))).toBe(
      'BUDGET_EXHAUSTED',
    );
    balanced(store);
  });

  it('an account that was never opened, was opened elsewhere or is fenced off is granted nothing (B11)', () => {
    const store = setup();
    const wish = { amount: some(1), atLeast: some(1), above: some(0) };
    expect(code(store.grant(PURSE, `${nodeIdOf(3)}/z` as AccountId, wish))).toBe('CONFLICT');
    expect(code(store.grant(PURSE, A, { ...wish, nonce: 99 }))).toBe('CONFLICT');
    const racing = planOf(planGrant(store.view(PURSE, A).view, { ...wish, nonce: 11 }));
    store.carry(planOf(planFencing(store.view(PURSE, A).view)));
    expect(store.carry(racing)).toBe(false);
    expect(code(store.grant(PURSE, A, { ...wish, nonce: 11 }))).toBe('CONFLICT');
  });

  it('a budget made again under its name is another one (B26)', () => {
    const store = setup();
    const other = definitionOf({ limit: 100, epoch: 77 });
    expect(planCreation(other, store.view(PURSE, A).view)).toMatchObject({
      error: { code: 'CONFLICT', hint: expect.stringContaining(`skein budget limit ${BUDGET.name} N`) },
    });
    store.transact({
      compares: [],
      then: [{ op: 'delete', key: definitionKey(BUDGET.name) }],
      otherwise: [],
    });
    store.carry(planOf(planCreation(other, store.view(PURSE, A).view)));
    expect(code(store.grant(PURSE, A, { amount: some(1), atLeast: some(1), above: some(0) }))).toBe(
      'NOT_FOUND',
    );
    expect(store.grant(purseOf(other), A, { amount: some(1), atLeast: some(1), above: some(0) }).ok).toBe(
      true,
    );
  });
});

describe('reserve register: starts', () => {
  it.each([
    ['none', [], [21], true],
    ['the last confirmed one', [21], [21, 22], true],
    ['one whose answer was lost', [21, 22], [21, 22, 23], true],
    ['one that this data does not know', [21, 22], [21, 23], false],
  ] as const)(
    'with %s in the register a start is allowed only if it knows it (B10, B11)',
    (_, before, known, isOpen) => {
      const store = new Store([BUDGET]);
      let so: number[] = [];
      for (const nonce of before) {
        so = [...so, nonce];
        store.carry(planOpening(store.view(PURSE, A).view, nonce, so));
      }
      const nonce = known.at(-1)!;
      const plan = planOpening(store.view(PURSE, A).view, nonce, known);
      expect(plan.value.isOpen).toBe(isOpen);
      store.carry(plan);
      expect(planOpening(store.view(PURSE, A).view, nonce, known).value.isOpen).toBe(isOpen);
    },
  );

  it('a start is refused with the reason: its account was fenced off, or another start is not known (B11, B13)', () => {
    const store = new Store([BUDGET]);
    const refused = () => planOpening(store.view(PURSE, A).view, 23, [21, 23]).value;
    store.carry(planOpening(store.view(PURSE, A).view, 22, [22]));
    expect(refused()).toEqual({ isOpen: false, isFenced: false });
    store.carry(planOf(planFencing(store.view(PURSE, A).view)));
    expect(refused()).toEqual({ isOpen: false, isFenced: true });
  });

  it('a start is not registered over another that came between', () => {
    const store = new Store([BUDGET]);
    const plan = planOpening(store.view(PURSE, A).view, 21, [21]);
    store.carry(planOpening(store.view(PURSE, A).view, 22, [22]));
    expect(store.carry(plan)).toBe(false);
  });
});

describe('reserve register: limits, returns and losses', () => {
  it('a limit lowered below what is granted stops grants, and what comes back pays first (B18)', () => {
    const store = setup();
    store.grant(PURSE, A, { amount: some(80), atLeast: some(1), above: some(0) });
    const limit = (to: number) => store.carry(planOf(planLimit(store.view(PURSE, A).view, some(to))));
    limit(50);
    expect(store.reserve(BUDGET)).toEqual({ limit: 50, reserve: 0, owed: 30 });
    expect(code(store.grant(PURSE, B, { amount: some(1), atLeast: some(1), above: some(0) }))).toBe(
      'BUDGET_EXHAUSTED',
    );
    balanced(store);
    const back = (total: number) => store.carry(planOf(planReturn(store.view(PURSE, A).view, some(total))));
    back(20);
    expect(store.reserve(BUDGET)).toEqual({ limit: 50, reserve: 0, owed: 10 });
    back(35);
    back(35);
    expect(store.reserve(BUDGET)).toEqual({ limit: 50, reserve: 5, owed: 0 });
    balanced(store);
    limit(60);
    limit(60);
    expect(store.reserve(BUDGET)).toEqual({ limit: 60, reserve: 15, owed: 0 });
    expect(store.view(PURSE, A).view.definition.value?.limit).toBe(60);
    balanced(store);
  });

  it('a return told late or twice counts once, and never more than was granted (B02, B27)', () => {
    const store = setup();
    store.grant(PURSE, A, { amount: some(40), atLeast: some(1), above: some(0) });
    for (const total of [10, 25, 10, 25])
      store.carry(planOf(planReturn(store.view(PURSE, A).view, some(total))));
    expect(store.reserve(BUDGET).reserve).toBe(85);
    expect(code(planReturn(store.view(PURSE, A).view, some(41)))).toBe('CONFLICT');
    balanced(store);
  });

  it('a lost account is written off once, after it was fenced off, and by no more than it can have had (B12)', () => {
    const store = setup();
    store.grant(PURSE, A, { amount: some(60), atLeast: some(1), above: some(0) });
    const row = rowOf({ granted: 50, spent: 15, held: 5, sent: [[B, 10]] });
    const writeOff = (value: number) => planWriteOff(store.view(PURSE, A).view, row, some(0), some(value));
    expect(code(writeOff(20))).toBe('CONFLICT');
    store.carry(planOf(planFencing(store.view(PURSE, A).view)));
    // 20 rights, 5 held, 10 that it did not know of.
    expect(writeOff(36)).toMatchObject({ error: { code: 'INVALID_ARGUMENT', details: { most: 35 } } });
    const plan = planOf(writeOff(30));
    expect(store.carry(plan)).toBe(true);
    expect(store.carry(plan)).toBe(false);
    expect(code(writeOff(5))).toBe('CONFLICT');
    expect(store.reserve(BUDGET).reserve).toBe(70);
    const positions = [
      { account: A, row, entry: store.entry(PURSE, A) },
      { account: B, row: rowOf({ received: [[A, 10]] }, B), entry: undefined },
    ];
    const { balance, problems } = balanceOf(store.reserve(BUDGET), positions);
    expect(problems).toEqual([]);
    expect(balance).toMatchObject({ lost: 5, rights: 10, spent: 15, transfersOnTheWay: 0 });
  });

  it('an account that was written off spends no more when it returns, and nothing it sent since counts (B12)', () => {
    const store = new Store([BUDGET]);
    const [gone, other] = [hostWith(store, 0, 60), hostWith(store, 1)];
    const { account } = gone.ledger;
    const row = gone.row(PURSE);
    store.carry(planOf(planFencing(store.view(PURSE, account).view)));
    store.carry(planOf(planWriteOff(store.view(PURSE, account).view, row, some(0), some(60))));
    const entry = store.entry(PURSE, account)!;
    const told = {
      kind: 'registered',
      purse: PURSE,
      account,
      granted: entry.granted,
      end: { lastSequence: entry.lastSequence!, takenBack: entry.writtenOff },
    } as const;
    other.deliver(told);
    gone.transfer(PURSE, other.ledger.account, 20, 0);
    other.hear(gone);
    expect(other.rights(PURSE)).toBe(0);
    gone.deliver(told);
    expect(gone.ledger.account).not.toBe(account);
    expect(gone.rights(PURSE)).toBe(0);
  });

  it('a store founded anew that forgot a grant is told of it: what it gave out meanwhile is owed', () => {
    const store = setup();
    store.grant(PURSE, B, { amount: some(70), atLeast: some(1), above: some(0) });
    // A had 50 of the 100 in the store that was lost.
    expect(code(store.grant(PURSE, A, { amount: some(1), atLeast: some(1), above: some(50) }))).toBe(
      'CONFLICT',
    );
    store.carry(planOf(planRecovery(store.view(PURSE, A).view, some(50))));
    store.carry(planOf(planRecovery(store.view(PURSE, A).view, some(50))));
    expect(store.reserve(BUDGET)).toEqual({ limit: 100, reserve: 0, owed: 20 });
    balanced(store);
  });

  it('a store founded anew that forgot a write-off is told of it once, and gives out what came back but not more than there is', () => {
    const store = setup();
    const before = { granted: some(50), returned: some(5), writtenOff: some(30), lastSequence: 9 };
    store.carry(planOpening(store.view(PURSE, A).view, 21, [21]));
    store.grant(PURSE, A, { amount: some(20), atLeast: some(1), above: some(0) });
    const tell = () => store.carry(planOf(planEndAgain(store.view(PURSE, A).view, before)));
    tell();
    tell();
    expect(store.entry(PURSE, A)).toEqual(before);
    expect(store.reserve(BUDGET)).toEqual({ limit: 100, reserve: 85, owed: 0 });
    expect(store.view(PURSE, A).view.account.value).toMatchObject({ fenced: true });
    balanced(store);
    const beyond = { ...before, granted: some(0), writtenOff: some(16) };
    expect(code(planEndAgain(store.view(PURSE, B).view, beyond))).toBe('CONFLICT');
    expect(store.entry(PURSE, B)).toBeUndefined();
  });
});

describe('reserve register: keys and entries', () => {
  it('every key says what it is about, and nothing else does', () => {
    for (const [key, place] of [
      [accountKey(A), { kind: 'account', account: A }],
      [definitionKey(BUDGET.name), { kind: 'definition', budget: 'team' }],
      [reserveKey(PURSE), { kind: 'reserve', purse: PURSE }],
      [entryKey(PURSE, A), { kind: 'entry', purse: PURSE, account: A }],
    ] as const)
      expect(parseBudgetKey(key)).toEqual(place);
    for (const key of [
      '',
      'b/team',
      'budget',
      'budget/team/5',
      'budget/team/5/today',
      `budget/team/5/all/${A}/1`,
      'budget/!account/x',
    ])
      expect(parseBudgetKey(key)).toBeUndefined();
  });

  it.each([
    ['reserve', { limit: 100, reserve: 1.5, owed: 0 }],
    ['reserve', { limit: 100, reserve: 5, owed: 5 }],
    ['reserve', 'everything'],
    ['entry', { granted: -5, returned: 0, writtenOff: 0 }],
    ['entry', { granted: '5', returned: 0, writtenOff: 0 }],
    ['definition', { name: 'team', epoch: 5, limit: 2 ** 53 }],
    ['account', { nonce: 0, fenced: false }],
  ] as const)('nothing is planned on a %s that reads %j (B25, B27)', (what, value) => {
    const store = setup();
    const { view } = store.view(PURSE, A);
    const put = { op: 'put', key: view[what].key, value: encode(value) } as const;
    store.transact({ compares: [], then: [put], otherwise: [] });
    expect(() => store.view(PURSE, A)).toThrow('cannot be read');
  });

  it('an account of one node alone lives the whole life of a budget (I1, I8)', () => {
    const store = new Store([BUDGET]);
    const host = hostWith(store, 0, 100);
    for (let index = 0; index < 100; index++)
      expect(host.report(`r${index}`, 1)).toMatchObject({ ok: true, value: { overrun: 0 } });
    expect(host.row(PURSE)).toMatchObject({ spent: 100, overrun: 0 });
    expect(problemsOf(store, BUDGET, rowsOf([host], PURSE))).toEqual([]);
  });

  it('an account that was written off is granted nothing more, though a store that forgot has it open (I6)', () => {
    const store = setup();
    const wish = { amount: some(10), atLeast: some(1), above: some(0) };
    expect(code(store.grant(PURSE, A, wish))).toBe('ok');
    const ended = { granted: 10, returned: 0, writtenOff: 10, lastSequence: 3 };
    const put = { op: 'put', key: entryKey(PURSE, A), value: encode(ended) } as const;
    store.transact({ compares: [], then: [put], otherwise: [] });
    expect(code(store.grant(PURSE, A, { ...wish, above: some(10) }))).toBe('CONFLICT');
  });
});
