import type { NodeId } from '../../kernel/ids.ts';
import { limits } from '../../kernel/limits.ts';
import type { Instant } from '../../kernel/time.ts';

/** A ping, or a request to ping, that is out. */
interface Outstanding {
  readonly target: NodeId;
  readonly to: NodeId;
  readonly sentMs: number;
}

/** A ping sent for another: where its answer belongs. */
export interface Relay {
  readonly requester: NodeId;
  readonly seq: number;
  readonly target: NodeId;
  /** When the requester is told that nothing came. */
  nackMs: number;
}

/** Answers are believed only for what was asked, once, of the one asked, and for this long. */
const OUTSTANDING_MS = 5_000;

/** What was asked and awaits an answer. */
export class Pings {
  readonly #outstanding = new Map<number, Outstanding>();
  readonly #relays = new Map<number, Relay>();
  #seq = 0;

  /** The sequence number to send with. */
  open(to: NodeId, target: NodeId, now: Instant, relay?: Relay): number {
    const seq = ++this.#seq;
    this.#outstanding.set(seq, { target, to, sentMs: now.monoMs });
    if (relay !== undefined) this.#relays.set(seq, relay);
    return seq;
  }

  /** What was asked under `seq`, if it was asked of `from` and about `target`; only once. */
  close(seq: number, from: NodeId, target: NodeId): Outstanding | undefined {
    const sent = this.#outstanding.get(seq);
    if (sent === undefined || sent.to !== from || sent.target !== target) return undefined;
    this.#outstanding.delete(seq);
    return sent;
  }

  takeRelay(seq: number): Relay | undefined {
    const relay = this.#relays.get(seq);
    this.#relays.delete(seq);
    return relay;
  }

  mayRelayFor(requester: NodeId): boolean {
    let ofPeer = 0;
    for (const relay of this.#relays.values()) if (relay.requester === requester) ofPeer++;
    return ofPeer < limits.membershipRelaysPerPeer && this.#relays.size < limits.membershipRelays;
  }

  relays(): IterableIterator<Relay> {
    return this.#relays.values();
  }

  takeOverdueRelays(now: Instant): readonly Relay[] {
    const overdue: Relay[] = [];
    for (const [seq, relay] of this.#relays) {
      if (relay.nackMs > now.monoMs) continue;
      this.#relays.delete(seq);
      overdue.push(relay);
    }
    return overdue;
  }

  forgetOld(now: Instant): void {
    for (const [seq, sent] of this.#outstanding) {
      if (sent.sentMs + OUTSTANDING_MS > now.monoMs) break;
      this.#outstanding.delete(seq);
    }
  }
}
