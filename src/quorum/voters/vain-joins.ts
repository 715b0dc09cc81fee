/**
 * Members that named a store in vain: who joined it got nothing of it, and found nobody who leads it. They may lie, or
 * their store may have lost its majority for a while: they are believed again, after a time that grows.
 */
import type { NodeId } from '../../kernel/ids.ts';
import { limits } from '../../kernel/limits.ts';
import type { Instant } from '../../kernel/time.ts';

const FIRST_MS = 2_000;
const MOST_MS = 30_000;

export class VainJoins {
  readonly #vain = new Map<NodeId, { readonly forMs: number; readonly untilMs: number }>();

  note(node: NodeId, now: Instant): void {
    const forMs = Math.min(2 * (this.#vain.get(node)?.forMs ?? FIRST_MS / 2), MOST_MS);
    this.#vain.delete(node);
    this.#vain.set(node, { forMs, untilMs: now.monoMs + forMs });
    if (this.#vain.size <= limits.members * 2) return;
    const oldest = this.#vain.keys().next();
    if (oldest.done !== true) this.#vain.delete(oldest.value);
  }

  /** Their word on stores is passed over. */
  avoided(now: Instant): ReadonlySet<NodeId> {
    return new Set([...this.#vain].filter(([, { untilMs }]) => untilMs > now.monoMs).map(([node]) => node));
  }
}
