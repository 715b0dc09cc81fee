/**
 * An account that ends strands its money until an operator writes it off. So it may end only where it was written off, or
 * where there is or was another state of the machine's data: a disk lost, spoilt, moved or put back, or a copy.
 */
import type { NodeId } from '../../src/kernel/ids.ts';
import type { CoreEffect } from './core.ts';
import type { BudgetMachine } from './machine.ts';
import type { BudgetWorld } from './world.ts';

const AS_WRITTEN_OFF: ReadonlySet<unknown> = new Set([
  'the account was fenced off',
  'the account was written off',
]);

export class NeedlessEnds {
  readonly #world: BudgetWorld;
  readonly #doubtful = new Set<NodeId>();

  constructor(world: BudgetWorld) {
    this.#world = world;
    world.onEffect.push((machine, effect) => this.#check(machine, effect));
  }

  /** From now on there is another state of this machine's data, or there was one. */
  doubt({ nodeId }: BudgetMachine): void {
    this.#doubtful.add(nodeId);
  }

  #check({ name, nodeId }: BudgetMachine, effect: CoreEffect): void {
    if (effect.kind !== 'mark' || effect.name !== 'budget.accountReplaced') return;
    const { reason } = effect.fields;
    if (this.#doubtful.has(nodeId) || AS_WRITTEN_OFF.has(reason)) return;
    this.#world.violate('needless', `${name} begins another account, and need not: ${String(reason)}`);
  }
}
