/**
 * How old news are, held against the truth: whatever a machine had acknowledged before the time that another's status says
 * of it is in the rows that this one has of it, however many frames were lost on the way, and nobody noticed.
 */
import type { BudgetStatus } from '../../src/budget/api.ts';
import type { AccountId, PurseKey } from '../../src/budget/names.ts';
import type { NodeId } from '../../src/kernel/ids.ts';
import type { BudgetMachine } from './machine.ts';
import type { BudgetWorld } from './world.ts';

/** Numbers of a row, and since when its machine has answered for it. */
interface Acknowledged {
  readonly atMs: number;
  readonly sequence: number;
}

/** Remembered of each row. */
const REMEMBERED = 200;

export class News {
  readonly #world: BudgetWorld;
  readonly #acknowledged = new Map<string, Acknowledged[]>();
  /** By how much a status as a whole took news of machines that can be reached for younger than they were, at most: it does not count what is lost. */
  tooYoungMs = 0;

  constructor(world: BudgetWorld) {
    this.#world = world;
    world.onEffect.push((machine, effect) => {
      if (effect.kind === 'answer' && effect.result.ok) this.#acknowledge(machine);
    });
  }

  /** `reader` is told `status` of `purse`, in which no account has two truths. Statuses of machines whose clocks are wrong cannot be compared. */
  compare(reader: BudgetMachine, purse: PurseKey, status: BudgetStatus): void {
    const rows = reader.budgets?.ledger.rows;
    if (rows === undefined || !isRight(reader)) return;
    for (const { nodeId, asOf, accounts } of status.machines) {
      const writer = this.#world.machines.find((machine) => machine.nodeId === nodeId);
      if (asOf === undefined || writer === undefined || writer === reader || !isRight(writer)) continue;
      const beforeMs = this.#world.nowMs - (reader.wallMs - asOf);
      for (const account of accounts as readonly AccountId[]) {
        const heard = rows.row(purse, account)?.sequence ?? 0;
        this.#compareOne(reader, nodeId, [purse, account, heard], beforeMs);
        if (account !== writer.budgets?.ledger.account) continue;
        const lacking = this.#acknowledged
          .get(`${purse} ${account}`)
          ?.find(({ sequence }) => sequence > heard);
        const asOfMs = this.#world.nowMs - (reader.wallMs - status.asOf);
        this.tooYoungMs = Math.max(this.tooYoungMs, asOfMs - (lacking?.atMs ?? asOfMs));
      }
    }
  }

  #compareOne(
    reader: BudgetMachine,
    nodeId: NodeId,
    [purse, account, heard]: readonly [PurseKey, AccountId, number],
    beforeMs: number,
  ): void {
    const known = this.#acknowledged.get(`${purse} ${account}`);
    const last = known?.findLast(({ atMs }) => atMs < beforeMs);
    if (last !== undefined && last.sequence > heard)
      this.#world.violate(
        'asOf',
        `${reader.name} shows ${purse} of ${nodeId} as of ${Math.round(beforeMs)} ms by row ${heard}, and row ${last.sequence} was answered for at ${Math.round(last.atMs)} ms`,
      );
  }

  /** Whatever is answered is on the disk by now. */
  #acknowledge(machine: BudgetMachine): void {
    const state = machine.image.account;
    if (state === undefined || this.#world.copies.includes(machine)) return;
    for (const [purse, { sequence }] of state.purses) {
      const name = `${purse} ${state.account}`;
      const known = this.#acknowledged.get(name) ?? [];
      this.#acknowledged.set(name, known);
      if (known.at(-1)?.sequence === sequence) continue;
      known.push({ atMs: this.#world.nowMs, sequence });
      if (known.length > 2 * REMEMBERED) known.splice(0, REMEMBERED);
    }
  }
}

function isRight({ wasSet, time }: BudgetMachine): boolean {
  return !wasSet && time.wallRate === 1;
}
