/**
 * Adds up all the money of the budgets that are in use, as far as it is known here, again and again. Rows are heard at different
 * moments, so a sum may be wrong for a while; what stays wrong for long, on a copy of the store that is found to be as new as
 * the store, is an error: money was made or lost.
 */
import { ok } from '../kernel/errors.ts';
import { type Deadline, type Instant, isDue } from '../kernel/time.ts';
import { balanceOf } from './conservation.ts';
import { type Definition, isClosedIn } from './definition.ts';
import type { PurseKey } from './names.ts';
import type { Office } from './office.ts';
import { reserveOf, type View } from './reserve-register.ts';
import { positionsOf, purseNow } from './status.ts';

const EVERY_MS = 2_000;
const STAYS_MS = 30_000;
/** Questions to the store that are under way at most. */
const ASKED = 8;

interface Finding {
  text: string;
  /** Of the time in which the copy of the store is not known to have been behind. */
  sinceMs: number;
  isTold: boolean;
}

export class Auditor {
  readonly #office: Office;
  /** By purse, then by what is wrong; numbers in it may change while it stays. */
  readonly #findings = new Map<PurseKey, Map<string, Finding>>();
  readonly #asking = new Set<PurseKey>();
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
      this.#look(definition, purse, now);
    }
    for (const purse of this.#findings.keys()) if (!purses.has(purse)) this.#findings.delete(purse);
  }

  #look(definition: Definition, purse: PurseKey, now: Instant): void {
    this.#addUp(definition, purse, now);
    if (this.#due(purse, now).length > 0) this.#prove(definition, purse, now);
  }

  #addUp(definition: Definition, purse: PurseKey, now: Instant): void {
    const positions = positionsOf(this.#office, purse);
    if (positions.length === 0) return;
    const reserve = this.#office.mirror.reserve(purse) ?? reserveOf(definition);
    this.#found(purse, balanceOf(reserve, positions).problems, now);
  }

  /** What has stayed long enough and was not told. */
  #due(purse: PurseKey, now: Instant): readonly Finding[] {
    const findings = [...(this.#findings.get(purse)?.values() ?? [])];
    return findings.filter(({ isTold, sinceMs }) => !isTold && now.monoMs - sinceMs >= STAYS_MS);
  }

  /** Every grant and return changes the reserve's entry, so the copy that has the newest of it has all that moved in the purse. */
  #prove(definition: Definition, purse: PurseKey, now: Instant): void {
    if (this.#asking.has(purse) || this.#asking.size >= ASKED) return;
    this.#asking.add(purse);
    const { ledger, mirror } = this.#office;
    const at = { budget: definition.name, purse, account: ledger.account };
    this.#office.send<View>(
      { ...at, plan: (view) => ok({ kind: 'done', value: view }) },
      {
        strong: true,
        done: (result, later) => {
          this.#asking.delete(purse);
          if (!result.ok) {
            this.#startAnew(purse, later);
            return;
          }
          const own = mirror.view(at.budget, purse, at.account);
          const { definition: known, reserve } = result.value;
          const isCurrent =
            own.definition.revision >= known.revision && own.reserve.revision >= reserve.revision;
          if (!isCurrent) this.#startAnew(purse, later);
          else {
            // It may have caught up since it was looked at.
            this.#addUp(definition, purse, later);
            this.#tell(purse, later);
          }
        },
      },
      now,
    );
  }

  /** As long as the copy may be behind nothing stays wrong. */
  #startAnew(purse: PurseKey, now: Instant): void {
    for (const finding of this.#due(purse, now)) finding.sinceMs = now.monoMs;
  }

  #tell(purse: PurseKey, now: Instant): void {
    for (const finding of this.#due(purse, now)) {
      finding.isTold = true;
      const fields = { purse, text: finding.text };
      this.#office.order({ kind: 'mark', level: 'error', name: 'budget.notConserved', fields });
    }
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
      after.set(key, known);
    }
    this.#findings.set(purse, after);
  }
}
