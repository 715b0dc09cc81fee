import type { Deadline, Instant } from './time.ts';

/**
 * A protocol as a pure state machine: it reads no clock, rolls no dice of its own and touches no socket.
 *
 * Intuition: everything that happens to a node is a fact handed in; everything it wants done is an order handed
 * out. Hosts (the real one and the simulator) carry the facts and orders, so both run the same protocol.
 *
 * Events are facts in the past tense (`received`, `persisted`); effects are orders (`send`, `persist`); both are
 * told apart by `kind`. The same seed and the same events give the same effects, byte for byte.
 *
 * Effects are executed in order. A `persist` is a barrier: the effects behind it in the same stream (see
 * `Effect` in `effects.ts`) are held until the disk has answered. Hosts run each call to completion and queue
 * what arrives meanwhile. A machine that throws has broken an invariant: its host stops the node.
 */
export interface Machine<Event, Effect> {
  /** A fact arrived. */
  handle(event: Event, now: Instant): readonly Effect[];
  /** `deadline()` has passed. Calling it early is harmless. */
  expire(now: Instant): readonly Effect[];
  /** When `expire` is wanted, and why; a deadline in the past means: as soon as the queue is empty. */
  deadline(): Deadline | undefined;
}
