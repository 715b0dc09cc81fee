/** Making and changing budgets, and moving rights by hand: what people and orchestrators of work ask for. */
import { fail, failWith, ok, type Result } from '../kernel/errors.ts';
import { parseNodeId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { Instant } from '../kernel/time.ts';
import { type Amount, parseAmount, ZERO } from './amount.ts';
import type {
  BudgetAnswers,
  BudgetStatus,
  CreateBudget,
  RequestRights,
  SetLimit,
  TransferRights,
} from './api.ts';
import { chainOf, type Definition, parseDefinition } from './definition.ts';
import { type PurseKey, parseBudgetName } from './names.ts';
import type { Office } from './office.ts';
import type { Opening } from './opening.ts';
import { invalid } from './requests.ts';
import {
  type Granted,
  type Plan,
  planCreation,
  planGrant,
  planLimit,
  type Reserve,
} from './reserve-register.ts';
import { currentAccount, purseNow, remainsOf } from './status.ts';
import { exhaustedError } from './supply.ts';

export class Management {
  readonly #office: Office;
  readonly #opening: Opening;
  readonly #status: (definition: Definition, now: Instant) => BudgetStatus;

  constructor(
    office: Office,
    opening: Opening,
    status: (definition: Definition, now: Instant) => BudgetStatus,
  ) {
    this.#office = office;
    this.#opening = opening;
    this.#status = status;
  }

  create(id: number, call: CreateBudget, now: Instant): void {
    const { mirror, fresh, ledger } = this.#office;
    const parsed = parseDefinition({ ...call, name: call.budget, epoch: fresh() });
    const checked = parsed.ok ? this.#checked(parsed.value) : parsed;
    if (!checked.ok) {
      this.#office.answer(id, notDone(checked));
      return;
    }
    const definition = checked.value;
    const plan = (view: Parameters<typeof planCreation>[1]): Result<Plan<Definition>> =>
      // The answer to an earlier try was lost.
      view.definition.value?.epoch === definition.epoch
        ? ok({ kind: 'done', value: definition })
        : planCreation(definition, view);
    this.#office.send<Definition>(
      { budget: definition.name, purse: purseNow(definition, now.wallMs), account: ledger.account, plan },
      {
        done: (result, at) => {
          const found = mirror.definitions.get(definition.name) ?? definition;
          this.#office.answer(id, result.ok ? ok(this.#status(found, at)) : notDone(result));
        },
      },
      now,
    );
  }

  setLimit(id: number, call: SetLimit, now: Instant): void {
    const limit = parseAmount(call.limit, 1);
    const definition = this.definition(call.budget);
    if (limit === undefined || !definition.ok) {
      this.#office.answer(
        id,
        definition.ok ? invalid('The limit is no whole number from 1 to 2^53 - 1.', 'Give one.') : definition,
      );
      return;
    }
    const { name } = definition.value;
    const purse = purseNow(definition.value, now.wallMs);
    this.#office.send<Reserve>(
      {
        budget: name,
        purse,
        account: this.#office.ledger.account,
        plan: (view) => planLimit(view, limit),
      },
      {
        strong: true,
        done: (result, at) => {
          const found = this.#office.mirror.definitions.get(name) ?? definition.value;
          this.#office.answer(id, result.ok ? ok(this.#status(found, at)) : result);
        },
      },
      now,
    );
  }

  /** Of the budget and, so that it can be spent, of its ancestors. */
  request(id: number, call: RequestRights, now: Instant): void {
    const amount = parseAmount(call.amount, 1);
    const definition = this.definition(call.budget);
    if (amount === undefined || !definition.ok) {
      this.#office.answer(
        id,
        definition.ok
          ? invalid('The amount is no whole number from 1 to 2^53 - 1.', 'Give one.')
          : definition,
      );
      return;
    }
    const chain = chainOf(definition.value.name, this.#office.mirror.definitions);
    if (!chain.ok) {
      this.#office.answer(id, chain);
      return;
    }
    const own = purseNow(definition.value, now.wallMs);
    const target = this.#rights(own) + amount;
    // Ancestors first: rights of a budget without those of its ancestors would only lie there.
    const levels = [...chain.value]
      .reverse()
      .map((level) => ({ level, purse: purseNow(level, now.wallMs) }))
      .map(({ level, purse }) => ({ level, purse, lacks: target - this.#rights(purse) }))
      .filter(({ lacks }) => lacks > 0);
    this.#bring(id, levels, own, now);
  }

  transfer(id: number, call: TransferRights, now: Instant): void {
    const definition = this.definition(call.budget);
    const to = parseNodeId(call.to);
    const { mirror, heardAt } = this.#office;
    const account = to === undefined ? undefined : currentAccount(mirror, heardAt, to);
    if (!definition.ok) this.#office.answer(id, definition);
    else if (to === undefined || to === this.#office.self) {
      this.#office.answer(id, invalid('Rights go to another node, by its id.', 'See skein peers.'));
    } else if (account === undefined) {
      this.#office.answer(
        id,
        failWith('NOT_FOUND', 'That node has no account.', 'It opens one once it has heard of a budget.', {
          details: { outcome: 'not-done' },
        }),
      );
    } else {
      const purse = purseNow(definition.value, now.wallMs);
      const above = this.#office.ledger.purses.get(purse)?.sent.get(account) ?? ZERO;
      const moved = this.#office.ledger.perform(
        { op: 'transfer', purse, to: account, amount: call.amount, above },
        now,
      );
      this.#office.absorb(now);
      this.#office.answer(
        id,
        moved.ok ? ok({ moved: moved.value.moved, rights: this.#rights(purse) }) : moved,
      );
    }
  }

  definition(name: unknown): Result<Definition> {
    const budget = parseBudgetName(name);
    const definition = budget === undefined ? undefined : this.#office.mirror.definitions.get(budget);
    if (definition !== undefined) return ok(definition);
    return failWith(
      'NOT_FOUND',
      `There is no budget "${String(name).slice(0, 64)}" here.`,
      this.#office.mirror.isFilled
        ? 'Create it, or see the list of budgets.'
        : 'This node has not read the quorum store yet: try again, or see skein doctor.',
      { retryable: !this.#office.mirror.isFilled, details: { outcome: 'not-done' } },
    );
  }

  #rights(purse: PurseKey): Amount {
    return this.#office.ledger.purses.get(purse)?.rights ?? ZERO;
  }

  /** One level after the other; the last is the budget itself. */
  #bring(
    id: number,
    levels: readonly { readonly level: Definition; readonly purse: PurseKey; readonly lacks: number }[],
    own: PurseKey,
    now: Instant,
  ): void {
    const [next, ...rest] = levels;
    if (next === undefined) {
      const rights = this.#rights(own);
      const answer: BudgetAnswers['request'] = { granted: this.#brought.get(id) ?? 0, rights };
      this.#brought.delete(id);
      this.#office.answer(id, ok(answer));
      return;
    }
    const { level, purse, lacks } = next;
    const { ledger } = this.#office;
    const { account } = ledger;
    const above = ledger.purses.get(purse)?.granted ?? ZERO;
    const { nonce } = this.#opening;
    this.#office.send<Granted>(
      {
        budget: level.name,
        purse,
        account,
        plan: (view) =>
          planGrant(view, {
            amount: lacks as Amount,
            atLeast: lacks as Amount,
            above,
            ...(nonce === undefined ? {} : { nonce }),
          }),
      },
      {
        done: (result, at) => {
          if (!result.ok) {
            this.#brought.delete(id);
            this.#office.answer(id, this.#refused(result, purse, lacks, at));
            return;
          }
          if (account === ledger.account) {
            this.#office.tell({ kind: 'registered', purse, account, granted: result.value.total }, at);
          }
          if (purse === own) this.#brought.set(id, result.value.granted);
          this.#bring(id, rest, own, at);
        },
      },
      now,
    );
  }

  /** What requests under way got for the budget itself. */
  readonly #brought = new Map<number, number>();

  #refused(result: Result<never>, purse: PurseKey, lacks: number, now: Instant): Result<never> {
    if (result.ok || result.error.code !== 'BUDGET_EXHAUSTED') return result;
    const remains = remainsOf(this.#office, purse, now);
    return fail(exhaustedError(remains, lacks, remains.reserve, 1_000));
  }

  #checked(definition: Definition): Result<Definition> {
    const { mirror } = this.#office;
    if (mirror.definitions.size >= limits.budgets && !mirror.definitions.has(definition.name)) {
      return failWith('QUOTA_EXCEEDED', `There are ${limits.budgets} budgets.`, 'Use those there are.');
    }
    const chain = chainOf(definition.name, new Map([...mirror.definitions, [definition.name, definition]]));
    return chain.ok ? ok(definition) : chain;
  }
}

/** What was refused before anything was sent. */
function notDone<T>(result: Result<T>): Result<T> {
  if (result.ok || result.error.details?.outcome !== undefined) return result;
  const isKnown = ['INVALID_ARGUMENT', 'CONFLICT', 'NOT_FOUND', 'QUOTA_EXCEEDED'].includes(result.error.code);
  return isKnown
    ? fail({ ...result.error, details: { ...result.error.details, outcome: 'not-done' } })
    : result;
}
