import type { NodeId } from '../../kernel/ids.ts';
import { limits } from '../../kernel/limits.ts';
import type { Instant } from '../../kernel/time.ts';
import type { Update } from './messages.ts';

/**
 * What is worth telling. Rumours ride on pings and their answers, each a bounded number of times, the least told first
 * (SWIM, section 4.1). Urgent news also goes out by itself, at most once in `flushMs`, so that nobody can make this
 * node shout. Newer news about a member replaces older.
 */
export class News {
  readonly #flushMs: number;
  readonly #rumours = new Map<NodeId, { readonly update: Update; times: number }>();
  readonly #urgent = new Map<NodeId, Update>();
  #dueMs: number | undefined;
  #toldMs = Number.NEGATIVE_INFINITY;

  constructor(flushMs: number) {
    this.#flushMs = flushMs;
  }

  /** When urgent news is due. */
  get dueMs(): number | undefined {
    return this.#dueMs;
  }

  add(update: Update): void {
    this.#rumours.delete(update.member);
    this.#rumours.set(update.member, { update, times: 0 });
    if (this.#rumours.size <= limits.members) return;
    const oldest = this.#rumours.keys().next().value;
    if (oldest !== undefined) this.#rumours.delete(oldest);
  }

  addUrgent(update: Update, now: Instant): void {
    this.#urgent.set(update.member, update);
    this.#dueMs ??= Math.max(now.monoMs, this.#toldMs + this.#flushMs);
  }

  drop(member: NodeId): void {
    this.#rumours.delete(member);
    this.#urgent.delete(member);
  }

  /** Rumours to tell now, in a swarm of `members`. */
  take(members: number): readonly Update[] {
    if (this.#rumours.size === 0) return [];
    const enough = 3 * Math.ceil(Math.log2(members + 1));
    const chosen = [...this.#rumours.values()]
      .sort((a, b) => a.times - b.times)
      .slice(0, limits.membershipRumours);
    for (const rumour of chosen) {
      rumour.times++;
      if (rumour.times >= enough) this.#rumours.delete(rumour.update.member);
    }
    return chosen.map((rumour) => rumour.update);
  }

  takeUrgent(now: Instant): readonly Update[] {
    this.#dueMs = undefined;
    this.#toldMs = now.monoMs;
    const updates = [...this.#urgent.values()].slice(0, limits.membershipUpdates);
    this.#urgent.clear();
    return updates;
  }
}
