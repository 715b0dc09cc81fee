import type { NodeId } from '../../kernel/ids.ts';
import { limits } from '../../kernel/limits.ts';

/**
 * Who broke the protocol, how often, and who is barred for it.
 *
 * One offence may be an accident; `limits.penaltyPoints` of them within a minute are not. Then the peer is barred,
 * each time for twice as long, until it has behaved for as long as the longest bar.
 */
export class Penalties {
  readonly #records = new Map<NodeId, PeerRecord>();

  /** Counts an offence; true where it was the one that bars the peer. */
  add(peer: NodeId, nowMs: number): boolean {
    const record = this.#recordOf(peer);
    record.offencesMs.push(nowMs);
    if (record.offencesMs.length > limits.penaltyPoints) record.offencesMs.shift();
    const [oldest = nowMs] = record.offencesMs;
    if (record.offencesMs.length < limits.penaltyPoints || nowMs - oldest > limits.penaltyWindowMs)
      return false;
    record.bars = nowMs - record.barredUntilMs > limits.barMaxMs ? 1 : record.bars + 1;
    record.barredUntilMs = nowMs + Math.min(limits.barMs * 2 ** (record.bars - 1), limits.barMaxMs);
    record.offencesMs.length = 0;
    return true;
  }

  /** How long the peer is barred still; 0 where it is not. */
  barredMs(peer: NodeId, nowMs: number): number {
    return Math.max(0, (this.#records.get(peer)?.barredUntilMs ?? nowMs) - nowMs);
  }

  #recordOf(peer: NodeId): PeerRecord {
    let record = this.#records.get(peer);
    if (record === undefined) {
      // Only admitted peers are penalised, so that forgetting the oldest of so many frees nobody who matters.
      if (this.#records.size >= limits.members) {
        const oldest = this.#records.keys().next();
        if (!oldest.done) this.#records.delete(oldest.value);
      }
      record = { offencesMs: [], bars: 0, barredUntilMs: Number.NEGATIVE_INFINITY };
      this.#records.set(peer, record);
    }
    return record;
  }
}

interface PeerRecord {
  /** When the latest offences were, oldest first. */
  offencesMs: number[];
  bars: number;
  barredUntilMs: number;
}
