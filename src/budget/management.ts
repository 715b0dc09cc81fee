/** Making and changing budgets, and moving rights by hand: what people and orchestrators of work ask for. */
import { fail, failWith, ok, type Result } from '../kernel/errors.ts';
import { parseNodeId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { Instant } from '../kernel/time.ts';
import { type Amount, parseAmount, ZERO } from './amount.ts';
import type { BudgetStatus, CreateBudget, RequestRights, SetLimit, TransferRights } from './api.ts';
import { chainOf, type Definition, noBudget, parseDefinition } from './definition.ts';
import { type PurseKey, parseBudgetName } from './names.ts';
import type { Office } from './office.ts';
import type { Pull } from './pulls.ts';
import { foundIn } from './refusals.ts';
import { invalid, waitOf } from './requests.ts';
import { type Plan, planCreation, planLimit, type Reserve } from './reserve-register.ts';
import { currentAccount, purseNow } from './status.ts';
import type { Supply } from './supply.ts';

interface Bringing {
  readonly id: number;
  /** Ancestors first; the last is the budget's own. */
  readonly purses: readonly PurseKey[];
  readonly amount: number;
  readonly untilMs: number;
}

export class Management {
  readonly #office: Office;
  readonly #supply: Pick<Supply, 'hasRoom' | 'bring' | 'drop' | 'refusal'>;
  readonly #status: (definition: Definition, now: Instant) => BudgetStatus;

  /** Under way, by the id of the call. */
  readonly #requests = new Map<number, Pull>();

  constructor(
    office: Office,
    supply: Pick<Supply, 'hasRoom' | 'bring' | 'drop' | 'refusal'>,
    status: (definition: Definition, now: Instant) => BudgetStatus,
  ) {
    this.#office = office;
    this.#supply = supply;
    this.#status = status;
  }

  create(id: number, call: CreateBudget, now: Instant): void {
    const { mirror, fresh, ledger } = this.#office;
    const given = { ...call, closed: undefined, over: undefined };
    const parsed = parseDefinition({ ...given, name: call.budget, epoch: fresh() });
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
    const { mirror } = this.#office;
    const chain = foundIn(mirror, chainOf(definition.value.name, mirror.definitions));
    const waitMs = waitOf(call.waitMs);
    if (!chain.ok || !waitMs.ok || !this.#supply.hasRoom) {
      this.#office.answer(id, chain.ok ? (waitMs.ok ? tooMany() : waitMs) : chain);
      return;
    }
    const { diskError } = this.#office.ledger;
    if (diskError !== undefined) {
      this.#office.answer(id, fail(diskError));
      return;
    }
    // Ancestors first: rights of a budget without those of its ancestors would only lie there.
    const purses = chain.value.map((level) => purseNow(level, now.wallMs)).reverse();
    this.#bring({ id, purses, amount, untilMs: now.monoMs + waitMs.value }, now);
  }

  /** Its caller has gone: what has come stays. */
  cancel(id: number, now: Instant): void {
    const pull = this.#requests.get(id);
    this.#requests.delete(id);
    if (pull !== undefined) this.#supply.drop(pull, now);
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

  /** Errors: NOT_FOUND, QUORUM_UNAVAILABLE (the store was not read yet). */
  definition(name: unknown): Result<Definition> {
    const budget = parseBudgetName(name);
    const definition = budget === undefined ? undefined : this.#office.mirror.definitions.get(budget);
    if (definition !== undefined) return ok(definition);
    return foundIn(this.#office.mirror, fail(noBudget(String(name).slice(0, 64))));
  }

  #rights(purse: PurseKey): Amount {
    return this.#office.ledger.purses.get(purse)?.rights ?? ZERO;
  }

  /** One level after the other; the last is the budget itself, which gets no more than its ancestors have for it. */
  #bring({ id, purses, amount, untilMs }: Bringing, now: Instant): void {
    const [purse, ...rest] = purses;
    const own = purses.at(-1);
    if (purse === undefined || own === undefined) return;
    const target = this.#rights(own) + amount;
    const lacks = target - this.#rights(purse);
    const told = (got: number, at: Instant): void => {
      this.#requests.delete(id);
      const had = purse === own ? got : Math.min(amount, this.#rights(purse) - this.#rights(own));
      if (had <= 0) this.#office.answer(id, this.#supply.refusal(purse, this.#rights(purse) + lacks, at));
      else if (rest.length > 0) this.#bring({ id, purses: rest, amount: had, untilMs }, at);
      else this.#office.answer(id, ok({ granted: had, rights: this.#rights(own) }));
    };
    if (lacks <= 0) told(0, now);
    else this.#requests.set(id, this.#supply.bring(purse, lacks, untilMs, told, now, true));
  }

  #checked(definition: Definition): Result<Definition> {
    const { mirror } = this.#office;
    if (mirror.definitions.size >= limits.budgets && !mirror.definitions.has(definition.name)) {
      return failWith('QUOTA_EXCEEDED', `There are ${limits.budgets} budgets.`, 'Use those there are.');
    }
    const chain = chainOf(definition.name, new Map([...mirror.definitions, [definition.name, definition]]));
    return chain.ok ? ok(definition) : foundIn(mirror, chain);
  }
}

function tooMany(): Result<never> {
  return failWith('QUOTA_EXCEEDED', `${limits.budgetWaiters} calls wait for rights here.`, 'Try again.', {
    retryAfterMs: 200,
    details: { outcome: 'not-done' },
  });
}

/** What was refused before anything was sent. */
function notDone<T>(result: Result<T>): Result<T> {
  if (result.ok || result.error.details?.outcome !== undefined) return result;
  const isKnown = ['INVALID_ARGUMENT', 'CONFLICT', 'NOT_FOUND', 'QUOTA_EXCEEDED'].includes(result.error.code);
  return isKnown
    ? fail({ ...result.error, details: { ...result.error.details, outcome: 'not-done' } })
    : result;
}
