/**
 * Agents that spend, a provider outside the system that counts every token, and an operator.
 *
 * An agent reserves, has the provider serve some of it, and settles with what was served; at times more than it
 * reserved, at times it vanishes, repeats itself, or reports what it never reserved.
 */
import type { BudgetAnswers, BudgetCall, BudgetStatus, CreateBudget } from '../../src/budget/api.ts';
import { chainOf, type Definition } from '../../src/budget/definition.ts';
import { type BudgetName, type PurseKey, purseKey } from '../../src/budget/names.ts';
import { periodAt } from '../../src/budget/period.ts';
import type { Result } from '../../src/kernel/errors.ts';
import type { AgentId } from '../../src/kernel/ids.ts';
import type { Rng } from '../../src/kernel/rng.ts';
import type { Books } from './books.ts';
import type { BudgetMachine } from './machine.ts';
import { News } from './news.ts';
import type { BudgetWorld } from './world.ts';

export interface BudgetWorkloadPlan {
  readonly budgets: readonly Omit<CreateBudget, 'op'>[];
  readonly agents: number;
  readonly thinkMs: number;
  /** Largest reservation. */
  readonly most: number;
  readonly ttlMs: number;
  readonly waitMs: number;
  /** Chances of each kind of behaviour, for every reservation. */
  readonly vanish: number;
  readonly overrun: number;
  readonly report: number;
  readonly repeat: number;
  readonly wander: number;
  /** How often the operator does something; 0 never. */
  readonly operatorEveryMs: number;
}

interface Agent {
  readonly name: AgentId;
  readonly rng: Rng;
  machine: BudgetMachine;
  count: number;
}

interface Job {
  readonly agent: Agent;
  readonly budget: string;
  readonly amount: number;
  /** Another's clock decides when its time is up: within it the provider is asked, or not at all. */
  readonly isFree: boolean;
  id: string;
  purses: readonly PurseKey[];
  served: number;
  settled: number;
}

type Reserved = BudgetAnswers['reserve'];
type Counts = Record<string, number>;

/** A call to the provider takes up to this. */
const SERVE_MS = 400;
const RETRY_MS = 250;
const TRIES = 12;
const SAMPLE_MS = 350;
/** From a step to its being heard elsewhere, beside the wait for more: disk, and the way. */
const ON_THE_WAY_MS = 250;

export class BudgetWorkload {
  readonly #world: BudgetWorld;
  readonly #books: Books;
  readonly #plan: BudgetWorkloadPlan;
  readonly #rng: Rng;
  readonly #news: News;
  readonly #free: ReadonlySet<string>;
  readonly #wasDisturbed: (sinceMs: number) => boolean;
  #isStopped = false;
  /** Reservations that the provider may still serve, or that are being settled. */
  pending = 0;
  readonly outcomes: Counts = {};
  /** Statuses that were held against the truth. */
  samples = 0;

  /** `wasDisturbed`: whether some fault may have held up news since then. */
  constructor(
    world: BudgetWorld,
    books: Books,
    plan: BudgetWorkloadPlan,
    wasDisturbed: (sinceMs: number) => boolean,
  ) {
    this.#wasDisturbed = wasDisturbed;
    this.#world = world;
    this.#books = books;
    this.#plan = plan;
    this.#rng = world.rng.fork();
    this.#news = new News(world);
    this.#free = new Set(plan.budgets.filter(({ expiry }) => expiry === 'free').map(({ budget }) => budget));
  }

  /** See `News`. */
  get tooYoungMs(): number {
    return this.#news.tooYoungMs;
  }

  /** Makes the budgets, parents first; `done` once all are there. */
  create(done: () => void): void {
    const next = (at: number) => {
      const budget = this.#plan.budgets[at];
      if (budget === undefined) {
        done();
        return;
      }
      const machine = this.#world.running[0];
      const again = () => this.#world.scheduler.after(200, () => next(at));
      const isAsked = machine?.call({ op: 'create', ...budget }, (result) => {
        if (result.ok || result.error.code === 'CONFLICT') next(at + 1);
        else again();
      });
      if (isAsked !== true) again();
    };
    next(0);
  }

  start(): void {
    for (let index = 0; index < this.#plan.agents; index++) {
      const rng = this.#rng.fork();
      const machine = rng.pick(this.#world.machines);
      this.#think({ name: `agent-${index}` as AgentId, rng, machine, count: 0 });
    }
    this.#sample();
    if (this.#plan.operatorEveryMs > 0) this.#operate();
  }

  /** Nobody reserves any more; what was served is still settled. */
  stop(): void {
    this.#isStopped = true;
  }

  #think(agent: Agent): void {
    const { thinkMs, wander } = this.#plan;
    this.#world.scheduler.after(2 * thinkMs * agent.rng.float() + 1, () => {
      if (this.#isStopped) return;
      if (agent.rng.chance(wander) || agent.machine.state === 'dead')
        agent.machine = agent.rng.pick(this.#world.all);
      if (agent.rng.chance(this.#plan.report)) this.#report(agent);
      else this.#reserve(agent);
    });
  }

  #reserve(agent: Agent): void {
    const { rng } = agent;
    const { budget } = rng.pick(this.#plan.budgets);
    const amount = 1 + rng.below(rng.chance(0.1) ? this.#plan.most : Math.ceil(this.#plan.most / 5));
    const id = rng.chance(0.5) ? `${agent.name}:${++agent.count}` : undefined;
    const { ttlMs, waitMs } = this.#plan;
    const call: BudgetCall = {
      ...{ op: 'reserve', budget, agent: agent.name, amount },
      ...(id === undefined ? {} : { id }),
      ttlMs: Math.ceil(ttlMs * (0.3 + rng.float())),
      waitMs: rng.chance(0.3) ? 0 : waitMs,
    };
    const { machine } = agent;
    const isFree = this.#isFreeAnywhere();
    const job: Job = { agent, budget, amount, isFree, id: '', purses: [], served: 0, settled: 0 };
    let isTaken = false;
    const answered = (result: Result<unknown>) => {
      this.#count(`reserve ${result.ok ? 'ok' : result.error.code}`);
      // Of two answers to one request, one is acted on.
      if (result.ok && !isTaken) {
        isTaken = true;
        this.#reserved(job, machine, result.value as Reserved);
      }
    };
    const isAsked = machine.call(call, (result) => {
      answered(result);
      // The answer may have been lost: the same request again is the same reservation.
      if (!result.ok && result.error.details?.outcome === 'unknown' && id !== undefined && !this.#isStopped)
        machine.call(call, answered);
      this.#think(agent);
    });
    if (isAsked && id !== undefined && rng.chance(this.#plan.repeat)) machine.call(call, answered);
    if (!isAsked) this.#think(agent);
  }

  #isFreeAnywhere(): boolean {
    return this.#free.size > 0;
  }

  #reserved(job: Job, machine: BudgetMachine, { reservationId, amount, expiresAt }: Reserved): void {
    const { rng } = job.agent;
    const purses = this.#books.durableHold(machine, reservationId);
    if (purses === undefined || amount !== job.amount) {
      this.#world.violate(
        'durable',
        `${machine.name} answered for ${reservationId} (${amount} of ${job.amount}), which its disk does not hold`,
      );
      return;
    }
    this.#notWrittenOff(machine);
    job.id = reservationId;
    job.purses = purses;
    if (!job.isFree) this.#books.owe(purses, job.amount);
    if (rng.chance(this.#plan.vanish)) {
      // Gone, perhaps after the provider was asked: then nobody ever says what was served.
      if (!job.isFree && rng.chance(0.5)) this.#books.serve(purses, job.amount, true);
      this.#count('vanished');
      return;
    }
    this.pending += 1;
    this.#world.scheduler.after(SERVE_MS * rng.float(), () => this.#serve(job, machine, expiresAt));
  }

  /** A run that began after its account was written off may never spend of it (B13 to B15). */
  #notWrittenOff(machine: BudgetMachine): void {
    const account = machine.image.account?.account;
    const atMs = account === undefined ? undefined : this.#books.writtenOffAtMs.get(account);
    if (atMs !== undefined && machine.startedAtMs > atMs)
      this.#world.violate(
        'fenced',
        `${machine.name} came back and spends of ${account}, which was written off`,
      );
  }

  #serve(job: Job, machine: BudgetMachine, expiresAt: number): void {
    const { rng } = job.agent;
    // Where time gives reservations back, who comes too late must not call the provider: its clock may be wrong, though.
    if (job.isFree && machine.wallMs > expiresAt - SERVE_MS) job.served = 0;
    else job.served = rng.chance(0.3) ? job.amount : rng.below(job.amount + 1);
    // Given back by time, and not counted, until it is settled.
    if (job.isFree) for (const purse of job.purses) this.#books.forgive(purse, 'freed', job.served);
    this.#books.serve(job.purses, job.served, true);
    job.settled = job.served;
    if (rng.chance(this.#plan.overrun))
      job.settled = job.amount + 1 + rng.below(Math.ceil(this.#plan.most / 4));
    if (!job.isFree) this.#books.owe(job.purses, Math.min(0, job.settled - job.amount));
    this.#settle(job, machine, 1);
    if (rng.chance(this.#plan.repeat))
      machine.call({ op: 'settle', id: job.id, amount: job.settled }, () => {});
  }

  #settle(job: Job, machine: BudgetMachine, tries: number): void {
    const again = () => {
      if (tries >= TRIES) this.#settled(job, machine, undefined);
      else this.#world.scheduler.after(RETRY_MS * tries, () => this.#settle(job, machine, tries + 1));
    };
    // At times on another node, which passes it on.
    const where = job.agent.rng.chance(0.1) ? job.agent.rng.pick(this.#world.machines) : machine;
    const isAsked = where.call({ op: 'settle', id: job.id, amount: job.settled }, (result) => {
      this.#count(`settle ${result.ok ? 'ok' : result.error.code}`);
      if (result.ok) this.#settled(job, machine, result.value as BudgetAnswers['settle']);
      else if (result.error.code === 'CONFLICT' || (result.error.code === 'NOT_FOUND' && where === machine))
        this.#settled(job, machine, undefined);
      else again();
    });
    if (!isAsked) again();
  }

  #settled(job: Job, machine: BudgetMachine, settled: BudgetAnswers['settle'] | undefined): void {
    this.pending -= 1;
    if (settled === undefined) return;
    if (job.isFree) for (const purse of job.purses) this.#books.forgive(purse, 'freed', -job.served);
    // Of what is told to an older image of its account only what goes beyond the reservation is kept apart from it.
    const isCounted = job.isFree && !this.#books.isPutBack(machine);
    this.#books.owe(job.purses, isCounted ? job.settled : Math.max(0, job.settled - job.amount), machine);
    if (settled.amount !== job.settled && settled.ending === 'settled')
      this.#world.violate(
        'settlement',
        `${job.id} was settled with ${job.settled}, and counts as ${settled.amount}`,
      );
    if (
      settled.ending === 'settled' &&
      settled.overrun === 0 &&
      settled.freed !== Math.max(0, job.amount - job.settled)
    )
      this.#world.violate(
        'settlement',
        `${job.id}: ${settled.freed} freed of ${job.amount} settled with ${job.settled} (I9)`,
      );
    if (job.settled > job.served) this.#books.serve(job.purses, job.settled - job.served, false);
  }

  #report(agent: Agent): void {
    const { rng } = agent;
    const { budget } = rng.pick(this.#plan.budgets);
    const amount = 1 + rng.below(Math.ceil(this.#plan.most / 8));
    const id = `${agent.name}:p${++agent.count}`;
    const { machine } = agent;
    // What it spends beyond the rights there are does not keep the others from spending.
    const call: BudgetCall = { op: 'report', budget, agent: `${agent.name}-reports` as AgentId, amount, id };
    let isCounted = false;
    const tell = (tries: number) => {
      const isAsked = machine.call(call, (result) => {
        this.#count(`report ${result.ok ? 'ok' : result.error.code}`);
        if (result.ok && !isCounted) {
          isCounted = true;
          const purses = this.#books.durableHold(machine, id);
          if (purses === undefined)
            this.#world.violate(
              'durable',
              `${machine.name} answered for ${id}, which its disk does not hold`,
            );
          else {
            this.#books.owe(purses, amount, machine);
            this.#books.serve(purses, amount, false);
          }
        } else if (!result.ok && result.error.details?.outcome === 'unknown' && tries < 3 && !this.#isStopped)
          this.#world.scheduler.after(RETRY_MS, () => tell(tries + 1));
      });
      if (isAsked && tries === 1 && rng.chance(this.#plan.repeat)) machine.call(call, () => {});
    };
    tell(1);
    this.#think(agent);
  }

  /**
   * What a node says remains is never more than what remained at some moment since the rows that it says it from (I7). How
   * old they are it knows only while nothing holds up news; else it is held against all that ever remained.
   */
  #sample(): void {
    if (this.#isStopped) return;
    this.#world.scheduler.after(SAMPLE_MS * (0.5 + this.#rng.float()), () => this.#sample());
    const machine = this.#rng.pick(this.#world.machines);
    const { budget } = this.#rng.pick(this.#plan.budgets);
    const status = machine.status(budget);
    const chain = chainOf(budget as BudgetName, this.#books.definitions);
    if (status === undefined || !chain.ok) return;
    for (const definition of chain.value) this.#compare(machine, status, definition);
    const [own] = chain.value;
    const purse = own === undefined ? undefined : purseOf(own, machine);
    if (purse !== undefined && this.#books.isExact(purse)) this.#news.compare(machine, purse, status);
  }

  /** With what remained of the budget, or of one that it is a part of. */
  #compare(machine: BudgetMachine, status: BudgetStatus, definition: Definition): void {
    const purse = purseOf(definition, machine);
    const asOfMs = this.#world.nowMs - (machine.wallMs - status.asOf);
    // Where the time of day flies, how old a row is cannot be told by it.
    const isOff = machine.wasSet || machine.time.wallRate !== 1;
    const sinceMs = isOff || this.#wasDisturbed(asOfMs) ? 0 : asOfMs - ON_THE_WAY_MS;
    if (!this.#books.isExact(purse) || !this.#books.remembers(purse, sinceMs)) return;
    this.samples += 1;
    const most = this.#books.mostRemaining(purse, sinceMs);
    if (status.remaining > most)
      this.#world.violate(
        'remaining',
        `${machine.name} says that ${status.remaining} of ${status.budget} remain as of ${Math.round(sinceMs)} ms, and there were never more than ${most} of ${purse} since`,
      );
  }

  #operate(): void {
    if (this.#isStopped) return;
    const rng = this.#rng;
    this.#world.scheduler.after(this.#plan.operatorEveryMs * (0.5 + rng.float()), () => {
      const call = this.#wish();
      const machine = rng.pick(this.#world.machines);
      if (call !== undefined && !this.#isStopped)
        machine.call(call, (result) => this.#count(`${call.op} ${result.ok ? 'ok' : result.error.code}`));
      this.#operate();
    });
  }

  #wish(): BudgetCall | undefined {
    const rng = this.#rng;
    const { budget, limit } = rng.pick(this.#plan.budgets);
    const { most } = this.#plan;
    switch (rng.below(6)) {
      case 0:
        return { op: 'setLimit', budget, limit: Math.max(1, Math.floor(limit * (0.3 + 1.2 * rng.float()))) };
      case 1:
        return { op: 'request', budget, amount: 1 + rng.below(most * 3) };
      case 2:
        return {
          op: 'transfer',
          budget,
          to: rng.pick(this.#world.machines).nodeId,
          amount: 1 + rng.below(most),
        };
      case 3:
        return { op: 'rebalance', budget };
      default: {
        const gone = this.#world.machines.filter(({ state }) => state !== 'running');
        const account = gone.length === 0 ? undefined : rng.pick(gone).nodeId;
        return account === undefined ? undefined : { op: 'writeOff', budget, account };
      }
    }
  }

  #count(what: string): void {
    this.outcomes[what] = (this.outcomes[what] ?? 0) + 1;
  }
}

/** As the machine's clock has it. */
function purseOf({ name, epoch, window }: Definition, { wallMs }: BudgetMachine): PurseKey {
  return purseKey({ budget: name, epoch, period: periodAt(window, wallMs) });
}
