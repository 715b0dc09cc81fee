/** Settlements of reservations that other nodes made: asked of them, again and again until they answer or cannot be reached. */
import { Deadlines } from '../../kernel/deadlines.ts';
import type { PeerDown } from '../../kernel/effects.ts';
import { failWith, type Result } from '../../kernel/errors.ts';
import type { NodeId } from '../../kernel/ids.ts';
import { limits } from '../../kernel/limits.ts';
import type { Deadline, Instant } from '../../kernel/time.ts';
import type { Settlement } from '../spending.ts';
import { encodeCall, type SettledFrame, type SettleFrame } from './frames.ts';
import type { GatheringEffect, GatheringEvent } from './messages.ts';

/** How long each try waits for an answer, in ms. */
const TRIES_MS = [250, 500, 1_000] as const;
const STREAM = 'budget/call';

interface Forward {
  readonly node: NodeId;
  readonly frame: SettleFrame;
  /** Of the caller. */
  readonly id: number;
  tries: number;
}

export class Forwards {
  /** By the number in the frame. */
  readonly #open = new Map<number, Forward>();
  readonly #times = new Deadlines();
  readonly #peers: ReadonlySet<NodeId>;
  readonly #freshId: () => number;
  readonly #out: (effect: GatheringEffect) => void;

  constructor(peers: ReadonlySet<NodeId>, freshId: () => number, out: (effect: GatheringEffect) => void) {
    this.#peers = peers;
    this.#freshId = freshId;
    this.#out = out;
  }

  begin(event: Extract<GatheringEvent, { kind: 'settleThere' }>, now: Instant): void {
    const { id, node, reservation, amount } = event;
    if (!this.#peers.has(node)) {
      this.#answer(id, unreachable(node, 'not-done'));
      return;
    }
    if (this.#open.size >= limits.budgetForwards) {
      this.#answer(
        id,
        failWith('QUOTA_EXCEEDED', 'Too many settlements are under way at other nodes.', 'Try again.', {
          retryable: true,
          details: { outcome: 'not-done' },
        }),
      );
      return;
    }
    const frame: SettleFrame = { kind: 'settle', id: this.#freshId(), reservation, amount };
    const forward = { node, frame, id, tries: 0 };
    this.#open.set(frame.id, forward);
    this.#send(forward, now);
  }

  answered(from: NodeId, frame: SettledFrame): void {
    const forward = this.#open.get(frame.id);
    if (forward?.node === from && forward.frame.reservation === frame.reservation)
      this.#end(forward, frame.result);
  }

  down({ peer }: PeerDown): void {
    for (const forward of [...this.#open.values()])
      if (forward.node === peer) this.#end(forward, unreachable(peer, 'unknown'));
  }

  expire(now: Instant): void {
    for (const number of this.#times.takeDue(now.monoMs)) {
      const forward = this.#open.get(number);
      if (forward === undefined) continue;
      if (forward.tries < TRIES_MS.length) this.#send(forward, now);
      else this.#end(forward, unreachable(forward.node, 'unknown'));
    }
  }

  deadline(): Deadline | undefined {
    const atMs = this.#times.nextMs;
    return atMs === Number.POSITIVE_INFINITY ? undefined : { atMs, reason: 'budget.settleThere' };
  }

  #send(forward: Forward, now: Instant): void {
    this.#times.add(forward.frame.id, now.monoMs + (TRIES_MS[forward.tries] ?? 0));
    forward.tries++;
    const bytes = encodeCall(forward.frame);
    this.#out({ kind: 'send', stream: STREAM, to: [forward.node], channel: 'call', bytes });
  }

  #end({ frame, id }: Forward, result: Result<Settlement>): void {
    this.#open.delete(frame.id);
    this.#times.delete(frame.id);
    this.#answer(id, result);
  }

  #answer(id: number, result: Result<Settlement>): void {
    this.#out({ kind: 'settledThere', id, result });
  }
}

function unreachable(node: NodeId, outcome: 'not-done' | 'unknown'): Result<Settlement> {
  return failWith(
    'UNREACHABLE',
    `The node that made the reservation, ${node}, cannot be reached.`,
    'Settle again when it is back: it counts once.',
    { details: { outcome } },
  );
}
