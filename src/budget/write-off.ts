/**
 * An operator says that an account is gone for good: what it is known to have had left goes back to the reserve, and it is
 * fenced off, so that it ends should it come back after all. What it held counts as spent: a call may have been under way.
 */
import { failWith, ok, type Result } from '../kernel/errors.ts';
import { parseNodeId } from '../kernel/ids.ts';
import type { Instant } from '../kernel/time.ts';
import { type Amount, minus, parseAmount, ZERO } from './amount.ts';
import type { WriteOff } from './api.ts';
import { balanceOf, type Position, wentOn } from './conservation.ts';
import type { Definition } from './definition.ts';
import { type AccountId, nodeOfAccount, type PurseKey, parseAccountId } from './names.ts';
import type { Office } from './office.ts';
import { invalid } from './requests.ts';
import {
  type AccountEntry,
  type Entry,
  mostToWriteOff,
  type Plan,
  planFencing,
  planWriteOff,
  reserveOf,
  type View,
} from './reserve-register.ts';
import { EMPTY_ROW, type Row } from './row.ts';
import { positionsOf, purseNow } from './status.ts';

interface Case {
  readonly definition: Definition;
  readonly purse: PurseKey;
  readonly account: AccountId;
  readonly row: Row | undefined;
  /** What others sent it and its row does not know of, as far as they can be believed. */
  readonly unreceived: Amount;
  /** What it says that it got from others, of which nothing can be proved. */
  readonly unproved: Amount;
  /** What others took in from it and its row does not know of: it is with them. */
  readonly passedOn: Amount;
}

interface Outcome {
  readonly writtenOff: number;
  readonly lost: number;
}

export class WriteOffs {
  readonly #office: Office;

  constructor(office: Office) {
    this.#office = office;
  }

  begin(id: number, call: WriteOff, definition: Definition, now: Instant): void {
    const purse = purseNow(definition, now.wallMs);
    const cases = this.#cases(call.account, definition, purse);
    if (!cases.ok) this.#office.answer(id, cases);
    else this.#next(id, cases.value, { writtenOff: 0, lost: 0 }, now);
  }

  #cases(named: unknown, definition: Definition, purse: PurseKey): Result<readonly Case[]> {
    const account = parseAccountId(named);
    const node = parseNodeId(named);
    if (account === undefined && node === undefined) {
      return invalid('That is neither an account nor a node.', 'Take it from the status of the budget.');
    }
    const positions = positionsOf(this.#office, purse);
    const reserve = this.#office.mirror.reserve(purse) ?? reserveOf(definition);
    const { between } = balanceOf(reserve, positions);
    const found = positions.filter(
      (position) => position.account === account || nodeOfAccount(position.account) === node,
    );
    const open = found.filter(({ entry }) => entry?.lastSequence === undefined);
    if (open.length === 0) {
      const isOver = found.length > 0;
      return failWith(
        isOver ? 'CONFLICT' : 'NOT_FOUND',
        isOver ? 'It was written off before.' : 'It never had anything of this budget.',
        'See the status of the budget.',
        { details: { outcome: 'not-done' } },
      );
    }
    // Of a machine that goes on under another account, whoever names the machine means its former ones.
    const ended = open.filter(({ account }) => !this.#isAlive(account));
    const alive = open.find(({ account }) => this.#isAlive(account));
    if (alive !== undefined && ended.length === 0) {
      return failWith(
        'CONFLICT',
        `The machine that spends from ${alive.account} is alive.`,
        'Stop it for good first, or move its rights with a transfer. What a copy of its data had is written off on the machine itself, which knows what it spends from.',
        { details: { outcome: 'not-done', account: alive.account } },
      );
    }
    const proved = this.#proved(purse, positions);
    return ok(
      ended.map(({ account, row }) => ({
        definition,
        purse,
        account,
        row,
        unreceived: sumOf(proved, ([from, { sent }]) =>
          Math.max(0, (sent.get(account) ?? 0) - (row?.received.get(from) ?? 0)),
        ),
        unproved: proved.has(account)
          ? ZERO
          : sumOf(row?.received ?? [], ([from, total]) =>
              Math.max(0, total - (proved.get(from)?.sent.get(account) ?? 0)),
            ),
        passedOn: parseAmount(between.get(account)?.passedOn) ?? ZERO,
      })),
    );
  }

  /** Rows where the money adds up, as if it were taken in: else a member could fill the reserve by what it claims to have sent. */
  #proved(purse: PurseKey, positions: readonly Position[]): ReadonlyMap<AccountId, Row> {
    const { ledger } = this.#office;
    const credible = ledger.rows.credible(purse, ledger.account, ledger.purses.get(purse)?.row ?? EMPTY_ROW);
    const proved = new Map<AccountId, Row>();
    for (const position of positions) {
      const { account, row } = position;
      if (row === undefined || wentOn(position)) continue;
      if (account === ledger.account || credible.has(account)) proved.set(account, row);
    }
    return proved;
  }

  /** A former account of a machine that is alive may be written off, the one that it spends from may not. */
  #isAlive(account: AccountId): boolean {
    const { self, ledger, mirror, stateOf, heardAt } = this.#office;
    const node = nodeOfAccount(account);
    if (node === self) return account === ledger.account;
    const state = stateOf(node);
    if (state === undefined || state === 'dead') return false;
    if (mirror.account(account)?.fenced === true) return false;
    // The one opened last may be a copy's that is gone, while the machine goes on under the one heard of last.
    const accounts = mirror.accountsOf(node);
    const heard = (each: AccountId) => heardAt.get(each) ?? Number.NEGATIVE_INFINITY;
    const isHeardLast = accounts.every((other) => other === account || heard(other) < heard(account));
    return isHeardLast || accounts.at(-1) === account;
  }

  #next(id: number, [first, ...rest]: readonly Case[], sum: Outcome, now: Instant): void {
    if (first === undefined) {
      this.#office.answer(id, ok(sum));
      return;
    }
    this.#writeOff(
      first,
      (result, at) => {
        if (!result.ok) this.#office.answer(id, result);
        else {
          const { writtenOff, lost } = result.value;
          const after = { writtenOff: sum.writtenOff + writtenOff, lost: sum.lost + lost };
          this.#next(id, rest, after, at);
        }
      },
      now,
    );
  }

  #writeOff(of: Case, done: (result: Result<Outcome>, now: Instant) => void, now: Instant): void {
    const { definition, purse, account } = of;
    this.#office.send<AccountEntry | undefined>(
      { budget: definition.name, purse, account, plan: planFence },
      {
        strong: true,
        done: (fenced, at) => {
          if (fenced.ok) this.#writeDown(of, done, at);
          else done(fenced, at);
        },
      },
      now,
    );
  }

  #writeDown(of: Case, done: (result: Result<Outcome>, now: Instant) => void, now: Instant): void {
    const { definition, purse, account, row, unreceived, unproved, passedOn } = of;
    const held = row?.held ?? ZERO;
    let most = ZERO;
    const plan = (view: View): Result<Plan<Entry>> => {
      const entry = view.entry.value ?? {
        granted: ZERO,
        returned: ZERO,
        writtenOff: ZERO,
        lastSequence: undefined,
      };
      most = mostToWriteOff(entry, row, unreceived);
      const kept = (held + passedOn + unproved) as Amount;
      return planWriteOff(view, row, unreceived, minus(most, kept) ?? ZERO);
    };
    this.#office.send(
      { budget: definition.name, purse, account, plan },
      {
        strong: true,
        done: (result, at) => {
          if (!result.ok) {
            done(result, at);
            return;
          }
          const { writtenOff } = result.value;
          const lost = Math.max(0, most - passedOn - writtenOff);
          this.#office.order({
            kind: 'mark',
            level: 'warn',
            name: 'budget.writtenOff',
            fields: {
              budget: definition.name,
              purse,
              account,
              writtenOff,
              lost,
              held,
              spent: row?.spent ?? 0,
              rowSequence: row?.sequence ?? 0,
              unreceived,
            },
          });
          done(ok({ writtenOff, lost }), at);
        },
      },
      now,
    );
  }
}

function sumOf<T>(parts: Iterable<T>, amountOf: (part: T) => number): Amount {
  let sum = 0;
  for (const part of parts) sum += amountOf(part);
  return parseAmount(sum) ?? ZERO;
}

/** An account that was never opened has nothing to fence off. */
function planFence(view: View): Result<Plan<AccountEntry | undefined>> {
  return view.account.value === undefined ? ok({ kind: 'done', value: undefined }) : planFencing(view);
}
