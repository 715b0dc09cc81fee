import type { Machine } from '../kernel/machine.ts';
import { type Deadline, type Instant, mayBeDue } from '../kernel/time.ts';

type Timed = Pick<Machine<never, unknown>, 'deadline'>;

/**
 * When the machines of a node want to be woken; each is asked only after it was touched.
 *
 * Intuition: a deadline moves only where something happens, and mostly something happens to one machine. Yet the node
 * must know the nearest of all after every event, and to ask all of them was a tenth of what an idle node does.
 *
 * Whoever calls a method of a machine that may move its deadline says so with `touched`, before or after.
 */
export class MachineDeadlines<M extends Timed> {
  readonly #machines: readonly M[];
  readonly #known: (Deadline | undefined)[] = [];
  readonly #stale = new Set<Timed>();
  #nearest: Deadline | undefined;
  #earlyMs = Number.POSITIVE_INFINITY;

  constructor(machines: readonly M[]) {
    this.#machines = machines;
    for (const machine of machines) this.#stale.add(machine);
  }

  touched(machine: Timed): void {
    this.#stale.add(machine);
  }

  /** The nearest of all; of several at one time the first machine's. */
  nearest(): Deadline | undefined {
    if (this.#stale.size > 0) this.#askStale();
    return this.#nearest;
  }

  /** From when on `early` has something to say, as far as was known when `nearest` was asked last. */
  get earlyMs(): number {
    return this.#earlyMs;
  }

  /** The machines that are due, or may be early, in their order; one may become due by what those before it did. */
  *due(now: Instant): Generator<M> {
    for (let at = 0; at < this.#machines.length; at++)
      if (mayBeDue(this.#deadlineOf(at), now)) yield this.#machines[at] as M;
  }

  /** The machines that wait for no moment of their own, but for the node to be awake. */
  *early(now: Instant): Generator<M> {
    for (let at = 0; at < this.#machines.length; at++) {
      const deadline = this.#deadlineOf(at);
      if (deadline?.earlyMs !== undefined && mayBeDue(deadline, now)) yield this.#machines[at] as M;
    }
  }

  #deadlineOf(at: number): Deadline | undefined {
    const machine = this.#machines[at] as M;
    return this.#stale.has(machine) ? machine.deadline() : this.#known[at];
  }

  #askStale(): void {
    let nearest: Deadline | undefined;
    this.#earlyMs = Number.POSITIVE_INFINITY;
    // By index: loops of a node that sleeps most of the time stay uncompiled, and others make an object a step.
    for (let at = 0; at < this.#machines.length; at++) {
      const machine = this.#machines[at] as M;
      if (this.#stale.has(machine)) this.#known[at] = machine.deadline();
      const deadline = this.#known[at];
      if (deadline === undefined) continue;
      if (nearest === undefined || deadline.atMs < nearest.atMs) nearest = deadline;
      if (deadline.earlyMs !== undefined)
        this.#earlyMs = Math.min(this.#earlyMs, deadline.atMs - deadline.earlyMs);
    }
    this.#stale.clear();
    this.#nearest = nearest;
  }
}
