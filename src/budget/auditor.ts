/**
 * Adds up all the money of the budgets that are in use, as far as it is known here, again and again. Rows are heard at different
 * moments, so a sum may be wrong for a while; what stays wrong for long is an error: money was made or lost.
 */
import { type Deadline, type Instant, isDue } from '../kernel/time.ts';
import { balanceOf } from './conservation.ts';
import { isClosedIn } from './definition.ts';
import type { PurseKey } from './names.ts';
import type { Office } from './office.ts';
import { reserveOf } from './reserve-register.ts';
import { positionsOf, purseNow } from './status.ts';

const EVERY_MS = 2_000;
const STAYS_MS = 30_000;

interface Finding {
  text: string;
  readonly sinceMs: number;
  isTold: boolean;
}

export class Auditor {
  readonly #office: Office;
  /** By purse, then by what is wrong; numbers in it may change while it stays. */
  readonly #findings = new Map<PurseKey, Map<string, Finding>>();
  #next: Deadline;

  constructor(office: Office, now: Instant) {
    this.#office = office;
    this.#next = { atMs: now.monoMs + EVERY_MS, reason: 'budget.audit' };
  }

  deadline(): Deadline | undefined {
    return this.#office.mirror.definitions.size === 0 ? undefined : this.#next;
  }

  /** What stayed wrong. */
  problems(purse: PurseKey): readonly string[] {
    return [...(this.#findings.get(purse)?.values() ?? [])]
      .filter(({ isTold }) => isTold)
      .map(({ text }) => text);
  }

  get all(): readonly { readonly purse: PurseKey; readonly problems: readonly string[] }[] {
    return [...this.#findings.keys()]
      .map((purse) => ({ purse, problems: this.problems(purse) }))
      .filter(({ problems }) => problems.length > 0);
  }

  expire(now: Instant): void {
    if (!isDue(this.#next, now)) return;
    this.#next = { ...this.#next, atMs: now.monoMs + EVERY_MS };
    const { definitions } = this.#office.mirror;
    const purses = new Set<PurseKey>();
    for (const definition of definitions.values()) {
      const purse = purseNow(definition, now.wallMs);
      // Of a closed period the store has forgotten what was granted.
      if (isClosedIn(definition, purse)) continue;
      purses.add(purse);
      const positions = positionsOf(this.#office, purse);
      if (positions.length === 0) continue;
      const reserve = this.#office.mirror.reserve(purse) ?? reserveOf(definition);
      this.#found(purse, balanceOf(reserve, positions).problems, now);
    }
    for (const purse of this.#findings.keys()) if (!purses.has(purse)) this.#findings.delete(purse);
  }

  #found(purse: PurseKey, problems: readonly string[], now: Instant): void {
    const before = this.#findings.get(purse);
    if (problems.length === 0) {
      if (before !== undefined) this.#findings.delete(purse);
      return;
    }
    const after = new Map<string, Finding>();
    for (const text of problems) {
      const key = text.replace(/\b\d+\b/g, '#');
      const known = before?.get(key) ?? { text, sinceMs: now.monoMs, isTold: false };
      known.text = text;
      if (!known.isTold && now.monoMs - known.sinceMs >= STAYS_MS) {
        known.isTold = true;
        this.#office.order({
          kind: 'mark',
          level: 'error',
          name: 'budget.notConserved',
          fields: { purse, text },
        });
      }
      after.set(key, known);
    }
    this.#findings.set(purse, after);
  }
}
