import type { Machine } from '../kernel/machine.ts';
import { type Deadline, type Instant, isDue } from '../kernel/time.ts';

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

  /** The machines that are due, in their order; one may become due by what those before it did. */
  *due(now: Instant): Generator<M> {
    for (let at = 0; at < this.#machines.length; at++) {
      const machine = this.#machines[at] as M;
      if (isDue(this.#stale.has(machine) ? machine.deadline() : this.#known[at], now)) yield machine;
    }
  }

  #askStale(): void {
    let nearest: Deadline | undefined;
    // By index: loops of a node that sleeps most of the time stay uncompiled, and others make an object a step.
    for (let at = 0; at < this.#machines.length; at++) {
      const machine = this.#machines[at] as M;
      if (this.#stale.has(machine)) this.#known[at] = machine.deadline();
      const deadline = this.#known[at];
      if (deadline !== undefined && (nearest === undefined || deadline.atMs < nearest.atMs))
        nearest = deadline;
    }
    this.#stale.clear();
    this.#nearest = nearest;
  }
}
