/** The end of a live run with budgets: all that is left is spent from one node, what is stranded is written off and spent too. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Budget } from '../../../src/cli/budget-api.ts';
import type { Machine, Machines } from '../machines.ts';
import { statusOf, take, type WriteOffAnswer, writeOff } from './books.ts';
import { nowMs, type Operation } from './operations.ts';

/** Short reservations run out meanwhile, and rows of all are heard. */
const AGREE_MS = 90_000;
const STILL_MS = 3_000;
const POLL_MS = 500;
/** All that remains can be had from one node within so long. */
const WITHIN_MS = 10_000;
const AGENT = 'the-end';

export interface EndingOptions {
  readonly machines: Machines;
  /** Agents reserve from these. */
  readonly budgets: readonly string[];
  /** What they all are within. */
  readonly whole: string;
  readonly record: (operation: Operation) => void;
  readonly serve: (budget: string, reservationId: string, tokens: number) => Promise<void>;
  /** From now on so much more may be served, since what was written off may have been spent before. */
  readonly allow: () => Promise<void>;
  readonly say: (line: string) => void;
  readonly signal: AbortSignal;
}

export interface Ended {
  readonly left: number;
  readonly taken: number;
  readonly stranded: number;
  readonly writtenOff: number;
  readonly lost: number;
  readonly takenAgain: number;
}

export class Ending {
  readonly #of: EndingOptions;
  readonly violations: string[] = [];

  constructor(options: EndingOptions) {
    this.#of = options;
  }

  /** Throws where the books of the nodes do not come to agree. */
  async run(from: Machine): Promise<Ended> {
    const before = await this.agreed();
    this.#of.say(`Spending the ${before.remaining} that are left from ${from.name}…`);
    this.#balance('before the end', before);
    const taken = await this.#takeAll(from, before.remaining);
    const after = await this.agreed();
    this.#balance('once all was taken', after);
    this.#spentAll('what was left', before.remaining, taken, after);
    const { writtenOff, lost } = await this.#writeOffs(from, after);
    const { stranded, onTheWay } = after;
    // Of an account that nobody ever heard of, what it was granted is still on its way to it.
    if (writtenOff + lost < stranded || writtenOff + lost > stranded + onTheWay)
      this.violations.push(
        `${stranded} were stranded and ${onTheWay} on their way; ${writtenOff} were written off and ${lost} lost`,
      );
    const left = before.remaining;
    if (writtenOff + lost === 0) return { left, taken, stranded, writtenOff, lost, takenAgain: 0 };
    await this.#of.allow();
    const again = await this.#takeAll(from, writtenOff);
    this.#spentAll('what was written off', writtenOff, again, await this.agreed());
    return { left, taken, stranded, writtenOff, lost, takenAgain: again };
  }

  /** The same on all nodes, for a while. */
  async agreed(): Promise<Budget> {
    const { machines, whole, signal } = this.#of;
    const endMs = performance.now() + AGREE_MS;
    let last = '';
    let sinceMs = performance.now();
    for (;;) {
      signal.throwIfAborted();
      const views = await Promise.all(machines.all.map((machine) => statusOf(machine, whole)));
      const [first] = views;
      const texts = new Set(views.map(sumsOf));
      const text = [...texts].join(' | ');
      const isCalm = texts.size === 1 && views.every((view) => view?.problems.length === 0);
      if (!isCalm || text !== last) sinceMs = performance.now();
      last = text;
      if (first !== undefined && performance.now() - sinceMs >= STILL_MS) return first;
      if (performance.now() > endMs) {
        const problems = views.flatMap((view) => view?.problems ?? []);
        throw new Error(
          `the books of the nodes do not agree after ${AGREE_MS / 1_000} s: ${text} ${problems.join('; ')}`,
        );
      }
      await delay(POLL_MS, undefined, { signal });
    }
  }

  /** I1: whatever is not spent is held, stranded, on its way, or can be had; what is stranded may be held, too. */
  #balance(when: string, status: Budget): void {
    const { limit, owed, spent, held, remaining, stranded, onTheWay, overrun } = status;
    const all = limit + owed;
    const least = remaining + spent + stranded;
    if (overrun !== 0)
      this.violations.push(`${when}: an overrun of ${overrun}, though nobody spent more than was reserved`);
    if (least > all || least + held + onTheWay < all)
      this.violations.push(`I1, ${when}: of ${all} not all is accounted for: ${sumsOf(status)}`);
  }

  /** I8: pieces get smaller until nothing is left. What passes between nodes at that moment may be had a little later. */
  async #takeAll(from: Machine, expected: number): Promise<number> {
    const { budgets, signal } = this.#of;
    let taken = 0;
    for (const budget of budgets) {
      let piece = Math.max(1, Math.floor(expected / 20));
      let failures = 0;
      let emptySinceMs: number | undefined;
      for (;;) {
        signal.throwIfAborted();
        const result = await take(from, budget, piece, AGENT);
        if (result.kind === 'taken') {
          taken += piece;
          emptySinceMs = undefined;
          await this.#spend(from, budget, piece, result.reservationId);
        } else if (result.kind === 'failed' && ++failures > 5) {
          this.violations.push(`I8: ${from.name} cannot spend after the healing: ${result.why}`);
          break;
        } else if (result.kind === 'exhausted' && piece > 1) piece = Math.floor(piece / 2);
        else if (result.kind === 'exhausted') {
          emptySinceMs ??= performance.now();
          const forMs = performance.now() - emptySinceMs;
          const isSpent = forMs > STILL_MS && (await statusOf(from, budget))?.remaining === 0;
          if (isSpent || forMs > WITHIN_MS) break;
          await delay(POLL_MS, undefined, { signal });
        }
      }
    }
    return taken;
  }

  async #spend(from: Machine, budget: string, tokens: number, reservationId: string): Promise<void> {
    const at = nowMs();
    const who = { agent: AGENT, machine: from.name, budget, tokens, reservationId };
    this.#of.record({ kind: 'reserve', start: at, end: at, outcome: 'ok', ...who });
    await this.#of.serve(budget, reservationId, tokens);
  }

  #spentAll(what: string, expected: number, taken: number, after: Budget): void {
    const { budgets, whole } = this.#of;
    // Of several budgets each has a limit of its own, which may be reached first.
    if (budgets.length > 1 || budgets[0] !== whole) return;
    if (taken < expected || after.remaining > 0)
      this.violations.push(
        `I8: of ${what}, ${expected}, only ${taken} could be spent; ${after.remaining} remain`,
      );
  }

  async #writeOffs(
    from: Machine,
    { machines, task_id: budget, onTheWay }: Budget,
  ): Promise<{ writtenOff: number; lost: number }> {
    let writtenOff = 0;
    let lost = 0;
    const struck = machines.filter(({ stranded }) => stranded > 0 || onTheWay > 0);
    const accounts = struck.flatMap(({ accounts: all }) => all);
    for (const account of accounts) {
      const answer = (await writeOff(from, budget, account)) ?? (await this.#writeOffThere(budget, account));
      if (answer === undefined) continue;
      this.#of.record({ kind: 'writeOff', at: nowMs(), budget, account, ...answer });
      writtenOff += answer.writtenOff;
      lost += answer.lost;
    }
    return { writtenOff, lost };
  }

  /** On the machine itself: of what a copy of its data had, the others cannot tell whether it spends from that. */
  async #writeOffThere(budget: string, account: string): Promise<WriteOffAnswer | undefined> {
    const { machines } = this.#of;
    const there = machines.all.find((machine) => {
      const nodeId = machines.node(machine)?.ready.nodeId;
      return nodeId !== undefined && account.startsWith(`${nodeId}/`);
    });
    return there === undefined ? undefined : writeOff(there, budget, account);
  }
}

function sumsOf(view: Budget | undefined): string {
  if (view === undefined) return 'no answer';
  const { limit, owed, spent, held, remaining, stranded, reserve, onTheWay } = view;
  return JSON.stringify({ limit, owed, spent, held, remaining, stranded, reserve, onTheWay });
}
